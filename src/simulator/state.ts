// The state of the simulated world as an immutable value, the effect of a move on it, and the checks of the guarantees.

import { topState } from "../machines/shared/state-name.js";
import type { Outside } from "./effect-model.js";
import type { MachineState, Step } from "./machine-model.js";
import { dropUndeliverable, follow, type MessageChange, messageChanged, type Network } from "./network.js";
import { type SimulatedDestination, type SimulatedSource, withDestination, withSource } from "./qemus.js";

/** States with equal parts have the same future with the same number of faults left. */
export class State implements Outside {
  constructor(
    readonly source: MachineState,
    /** Null until Prepare has arrived. */
    readonly destination: MachineState | null,
    readonly coordinator: MachineState,
    readonly qemuS: SimulatedSource,
    readonly qemuD: SimulatedDestination,
    readonly fence: Outside["fence"],
    readonly network: Network,
    readonly abortsLeft: number,
    /** A fault killed a QEMU: the guest may be lost. */
    readonly qemuDied: boolean,
    /** The client that coordinated has died permanently. */
    readonly coordinatorDied: boolean,
  ) {}
}

/** The changes of a move; other parts stay. Equal changes are the same object, so that results can be cached. */
export interface Change extends Partial<Outside> {
  /** The change of the network before the steps of the machines. */
  readonly message?: MessageChange;
  /** Steps of machines: their earlier requests are removed and their new requests are sent. */
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
  // A message in transit to a machine that has ended has no effect.
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
/** In these states the source's copy stays paused until the destination has answered. */
const stands: ReadonlySet<string> = new Set(["handedOver", "settling"]);
const destinationRuns = ({ qemuD }: State): boolean => qemuD.alive && qemuD.cpu === "running";
export const runners = (state: State): number => Number(sourceRuns(state)) + Number(destinationRuns(state));

/** Checks the invariants of every state; returns the violated guarantee or undefined. */
export function brokenAt(state: State): string | undefined {
  const { source, qemuS, qemuD, destination, qemuDied } = state;
  if (runners(state) > 1) return "G1: two copies run";
  if (sourceRuns(state) && stands.has(topState(source.state)))
    return "G3: the source runs a guest that it counts as handed over";
  if (qemuD.everRan && sourceRuns(state))
    return "G3: the source runs a guest that has run at the destination";
  if (!qemuS.alive && !qemuDied && !qemuD.everRan && destination?.taken !== true)
    return "G3: the source was killed before the destination took the guest";
  return undefined;
}

/** Checks a state in which nothing more can happen; returns the violated guarantee or undefined. */
export function brokenInTheEnd(state: State): string | undefined {
  const { source, destination, coordinator, coordinatorDied, qemuDied, qemuS, qemuD } = state;
  const open = [source, destination, coordinatorDied ? null : coordinator].filter(
    (standing) => standing?.ended === false,
  );
  if (open.length > 0)
    return `G5: still waiting: ${open.map((standing) => `${standing?.side} ${standing?.state}`).join(", ")}`;
  if (runners(state) !== 1 && !qemuDied) return `G2: ${runners(state)} copies run in the end`;
  if (qemuD.alive && !destinationRuns(state)) return "G6: a paused copy is left at the destination";
  // A copy that QEMU can no longer run is reported and left to the operator.
  const remains = source.state === "lost" && (qemuS.migration === "broken" || qemuS.migration === "hung");
  if (qemuS.alive && !sourceRuns(state) && !remains) return "G6: a paused copy is left at the source";
  if (qemuS.alive && (qemuS.disks === "copying" || qemuS.disks === "following"))
    return "G6: a disk mirror is left at the source";
  if (state.fence === "claimed" && !qemuD.everRan && !qemuDied)
    return "G6: the guest is claimed at the fence for a destination that has not run it";
  // The coordinator's outcome matches the real location of the guest.
  const kind = coordinatorDied ? undefined : coordinator.snapshot.output?.kind;
  if ((kind === "stayed" || kind === "aborted") && destinationRuns(state))
    return `the coordinator reports ${kind}, but the guest runs at the destination`;
  if (kind === "arrived" && !destinationRuns(state) && !qemuDied)
    return "the coordinator reports arrived, but the guest does not run at the destination";
  return undefined;
}
