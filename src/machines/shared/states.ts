// Derives properties of a state from its recorded name alone, for the journal, the daemon and the inspector, which
// have a story but no running machine.

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

/** Returns the states that the side is in, the outermost first; states unknown to this version are left out. */
const nodesIn = (side: Side, recorded: string): AnyStateNode[] =>
  [...statesIn(recorded)].flatMap((name) => nodes[side].get(name) ?? []);

/** Returns whether the side has ended. A stuck side has ended, and waits for an operator. */
export const isFinal = (side: Side, recorded: string): boolean =>
  nodes[side].get(topState(recorded))?.type === "final";

/** Merges the `meta` of the states that the side is in; an inner state overrides an outer one. */
export const metaIn = (side: Side, recorded: string): StateMeta =>
  Object.assign({}, ...nodesIn(side, recorded).map(metaOf));

/**
 * Identifies the position of a side as far as a restarted engine depends on it: engines that find two recorded states
 * with the same position continue in the same state.
 */
export const placeOf = (side: Side, recorded: string): string =>
  [topState(recorded), metaIn(side, recorded).rehydratesAs ?? ""].join(" ");

export const hasTag = (side: Side, recorded: string, tag: string): boolean =>
  nodesIn(side, recorded).some((node) => tagsOf(node).includes(tag));

/** Returns the effects and questions that run in the states that the side is in. */
export const invokedIn = (side: Side, recorded: string): string[] =>
  nodesIn(side, recorded).flatMap((node) => node.invoke.map(({ id }) => id));
