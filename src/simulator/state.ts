// One moment of the simulated world, as a value; how a move changes it; and the guarantees that hold in it.

import { topState } from "../machines/shared/state-name.js";
import type { Outside } from "./effect-model.js";
import type { MachineState, Step } from "./machine-model.js";
import { dropUndeliverable, follow, type MessageChange, messageChanged, type Network } from "./network.js";
import { type SimulatedDestination, type SimulatedSource, withDestination, withSource } from "./qemus.js";

/** Equal parts: the same can happen from here on, with as many faults left. */
export class State implements Outside {
  constructor(
    readonly source: MachineState,
    /** Null before Prepare has arrived. */
    readonly destination: MachineState | null,
    readonly coordinator: MachineState,
    readonly qemuS: SimulatedSource,
    readonly qemuD: SimulatedDestination,
    readonly fence: Outside["fence"],
    readonly network: Network,
    readonly abortsLeft: number,
    /** A QEMU was killed by a fault: an excuse for losing the guest. */
    readonly qemuDied: boolean,
    /** The client that coordinated is gone for good. */
    readonly coordinatorDied: boolean,
  ) {}
}

/** What a move changes; what is not named stays. Equal ones are the same object, so that they are remembered. */
export interface Change extends Partial<Outside> {
  /** What happens to the messages, before the machines have gone on. */
  readonly message?: MessageChange;
  /** Machines that have gone a step: what they asked is forgotten, and what they ask sets out. */
  readonly steps?: readonly Step[];
  readonly abortsLeft?: number;
  readonly qemuDied?: true;
  readonly coordinatorDied?: true;
}

export function changed(state: State, change: Change): State {
  const { message, steps } = change;
  let { source, destination, coordinator, network } = state;
  let { qemuS = state.qemuS, qemuD = state.qemuD } = change;
  if (message !== undefined) network = messageChanged(network, message);
  if (steps !== undefined)
    for (const step of steps) {
      network = follow(network, step);
      if (step.to.side === "source") source = step.to;
      else if (step.to.side === "destination") destination = step.to;
      else coordinator = step.to;
    }
  // What is on its way to a machine that has ended changes nothing any more.
  if (source.ended || destination?.ended === true) {
    if (source.ended && qemuS.facts.length > 0) qemuS = withSource(qemuS, { facts: [] });
    if (destination?.ended && qemuD.facts.length > 0) qemuD = withDestination(qemuD, { facts: [] });
    network = dropUndeliverable(network, source.ended, destination?.ended === true);
  }
  return new State(
    source,
    destination,
    coordinator,
    qemuS,
    qemuD,
    change.fence ?? state.fence,
    network,
    change.abortsLeft ?? state.abortsLeft,
    change.qemuDied ?? state.qemuDied,
    change.coordinatorDied ?? state.coordinatorDied,
  );
}

const sourceRuns = ({ qemuS }: State): boolean => qemuS.alive && qemuS.cpu === "running";
/** In these the source's copy stands still until the destination has answered. */
const stands: ReadonlySet<string> = new Set(["handedOver", "settling"]);
const destinationRuns = ({ qemuD }: State): boolean => qemuD.alive && qemuD.cpu === "running";
export const runners = (state: State): number => Number(sourceRuns(state)) + Number(destinationRuns(state));

/** What must hold at every moment; the broken guarantee, or undefined. */
export function brokenAt(state: State): string | undefined {
  const { source, qemuS, qemuD, destination, qemuDied } = state;
  if (runners(state) > 1) return "G1: two copies run";
  if (sourceRuns(state) && stands.has(topState(source.state)))
    return "G3: the source counts a guest as handed over that it runs";
  if (qemuD.everRan && sourceRuns(state))
    return "G3: the source runs a guest that has run at the destination";
  if (!qemuS.alive && !qemuDied && !qemuD.everRan && destination?.taken !== true)
    return "G3: the source was killed before the destination took the guest";
  return undefined;
}

/** What must hold when nothing more can happen; the broken guarantee, or undefined. */
export function brokenInTheEnd(state: State): string | undefined {
  const { source, destination, coordinator, coordinatorDied, qemuDied, qemuS, qemuD } = state;
  const open = [source, destination, coordinatorDied ? null : coordinator].filter(
    (standing) => standing?.ended === false,
  );
  if (open.length > 0)
    return `G5: still waiting: ${open.map((standing) => `${standing?.side} ${standing?.state}`).join(", ")}`;
  if (runners(state) !== 1 && !qemuDied) return `G2: ${runners(state)} copies run in the end`;
  if (qemuD.alive && !destinationRuns(state)) return "G6: a paused copy is left at the destination";
  // What QEMU cannot run any more is told, and left to a person.
  const remains = source.state === "lost" && (qemuS.migration === "broken" || qemuS.migration === "hung");
  if (qemuS.alive && !sourceRuns(state) && !remains) return "G6: a paused copy is left at the source";
  if (qemuS.alive && (qemuS.disks === "copying" || qemuS.disks === "following"))
    return "G6: the copy of a disk is left at the source";
  if (state.fence === "claimed" && !qemuD.everRan && !qemuDied)
    return "G6: the guest is claimed at the fence for a destination that has not run it";
  // What the coordinator says about the guest is true.
  const kind = coordinatorDied ? undefined : coordinator.snapshot.output?.kind;
  if ((kind === "stayed" || kind === "aborted") && destinationRuns(state))
    return `the coordinator says ${kind}, but the guest runs at the destination`;
  if (kind === "arrived" && !destinationRuns(state) && !qemuDied)
    return "the coordinator says arrived, but the guest does not run at the destination";
  return undefined;
}
