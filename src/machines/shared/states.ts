// What is known of a state by its recorded name alone, read off the machines: for the journal, the daemon and the
// inspector, which have a story and no machine that runs.

import type { AnyStateNode } from "xstate";
import type { Side } from "../../protocol/steps.js";
import { coordinatorMachine } from "../coordinator/machine.js";
import { destinationMachine } from "../destination/machine.js";
import { sourceMachine } from "../source/machine.js";
import type { StateMeta } from "./actions.js";
import { statesIn, topState } from "./state-name.js";
import { metaOf, nameOf, statesOf, tagsOf } from "./walk.js";

const machines = { source: sourceMachine, destination: destinationMachine, coordinator: coordinatorMachine };
const byName = (side: Side) => new Map(statesOf(machines[side]).map((node) => [nameOf(node), node]));
const nodes: Readonly<Record<Side, ReadonlyMap<string, AnyStateNode>>> = {
  source: byName("source"),
  destination: byName("destination"),
  coordinator: byName("coordinator"),
};

/** The states that the side is in, the outermost first; those that this version does not know are left out. */
const nodesIn = (side: Side, recorded: string): AnyStateNode[] =>
  [...statesIn(recorded)].flatMap((name) => nodes[side].get(name) ?? []);

/** Whether the side has come to its end. A side that is stuck has, and waits for an operator. */
export const isFinal = (side: Side, recorded: string): boolean =>
  nodes[side].get(topState(recorded))?.type === "final";

/** What the states say about themselves that the side is in; of two that say the same the inner one counts. */
export const metaIn = (side: Side, recorded: string): StateMeta =>
  Object.assign({}, ...nodesIn(side, recorded).map(metaOf));

/**
 * Where a side stands, as far as a restarted engine depends on it: engines that find two recorded states of the same place go
 * on in the same state.
 */
export const placeOf = (side: Side, recorded: string): string =>
  [topState(recorded), metaIn(side, recorded).rehydratesAs ?? ""].join(" ");

export const hasTag = (side: Side, recorded: string, tag: string): boolean =>
  nodesIn(side, recorded).some((node) => tagsOf(node).includes(tag));

/** The effects and questions that are carried out in the states that the side is in. */
export const invokedIn = (side: Side, recorded: string): string[] =>
  nodesIn(side, recorded).flatMap((node) => node.invoke.map(({ id }) => id));
