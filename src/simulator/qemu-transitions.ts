// The moves of the two QEMUs: their own transitions, their deaths, and the delivery of their events.

import type { MachineState } from "./machine-model.js";
import { Memo } from "./memo.js";
import {
  breaks,
  completes,
  dies,
  endedAs,
  follows,
  givesUp,
  goesOn,
  goesStale,
  goesToPostcopy,
  hasDevices,
  isInPostcopy,
  losesCopy,
  pauses,
  reports,
  type SimulatedDestination,
  type SimulatedSource,
  tellsStop,
  withDestination,
  withSource,
} from "./qemus.js";
import type { Move, Rules } from "./rules.js";
import type { Change, State } from "./state.js";

export class QemuMoves {
  readonly #rules: Rules;
  readonly #own = new Memo<Move[]>();
  readonly #heardAtSource = new Memo<Move[]>();
  readonly #heardAtDestination = new Memo<Move[]>();

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  from(state: State): Move[] {
    return [...this.own(state), ...this.heardAtSource(state), ...this.heardAtDestination(state)];
  }

  own({ qemuS, qemuD }: State): Move[] {
    return this.#own.get(qemuS.id, qemuD.id, () => [
      ...(qemuS.alive ? sourceMoves(qemuS, qemuD, this.#rules.dueMs[qemuS.reported]) : []),
      ...(qemuD.alive ? destinationMoves(qemuS, qemuD) : []),
    ]);
  }

  heardAtSource({ qemuS, source }: State): Move[] {
    if (qemuS.facts.length === 0) return [];
    return this.#heardAtSource.get(source.id, qemuS.id, () => this.#heardBySource(source, qemuS));
  }

  heardAtDestination({ qemuD, destination }: State): Move[] {
    if (qemuD.facts.length === 0 || destination === null) return [];
    return this.#heardAtDestination.get(destination.id, qemuD.id, () =>
      this.#heardByDestination(destination, qemuD),
    );
  }

  /** Delivers the events of the QEMUs, in order. */
  #heardBySource(source: MachineState, qemuS: SimulatedSource): Move[] {
    const [fact, ...facts] = qemuS.facts;
    if (fact === undefined || source.ended) return [];
    const steps = [this.#rules.source.send(source, fact)];
    const change = { qemuS: withSource(qemuS, { facts }), steps };
    return [{ name: `the source receives ${fact.type}`, fault: false, change }];
  }

  #heardByDestination(destination: MachineState, qemuD: SimulatedDestination): Move[] {
    const [fact, ...facts] = qemuD.facts;
    if (fact === undefined || destination.ended) return [];
    const steps = [this.#rules.destination.send(destination, fact)];
    const change = { qemuD: withDestination(qemuD, { facts }), steps };
    return [{ name: `the destination receives ${fact.type}`, fault: false, change }];
  }
}

function sourceMoves(
  qemuS: SimulatedSource,
  qemuD: SimulatedDestination,
  nextMs: number | undefined,
): Move[] {
  const moves: Move[] = [];
  const may = (name: string, fault: boolean, change: Change) =>
    moves.push({ name: `the source's QEMU ${name}`, fault, change });
  /** The guest runs on at the source, and the destination's copy becomes outdated. */
  const ends = (how: "failed" | "cancelled"): Change => ({
    qemuS: givesUp(qemuS, how),
    qemuD: goesOn(qemuS) ? goesStale(qemuD) : qemuD,
  });
  const connected = qemuD.alive && qemuD.stream === "active";
  moves.push(...postcopyMoves(qemuS, qemuD));
  if (qemuS.migration === "active" && connected) {
    may("pauses the guest and waits before the switchover", false, {
      qemuS: pauses(qemuS, "preSwitchover", false),
    });
    if (!qemuS.suspended)
      may("pauses the guest for a long time and waits before the switchover", false, {
        qemuS: pauses(qemuS, "preSwitchover", true),
      });
    // With disk mirrors QEMU is always configured to wait.
    if (qemuS.disks === "shared")
      may("pauses the guest and switches over at once", false, { qemuS: pauses(qemuS, "device", false) });
  }
  if (qemuS.disks === "copying" && qemuD.alive)
    may("has synchronized the disk mirrors, which follow each write", false, { qemuS: follows(qemuS) });
  if (qemuS.disks === "copying" || qemuS.disks === "following")
    may("loses a disk mirror", qemuD.alive, { qemuS: losesCopy(qemuS) });
  if (qemuS.migration === "active" && nextMs !== undefined)
    may("reports that a rule is due", false, { qemuS: reports(qemuS, nextMs) });
  if (qemuS.stopUntold) may("has paused its guest for a long time", false, { qemuS: tellsStop(qemuS) });
  if (qemuS.migration === "device" && connected) {
    const facts = [...qemuD.facts, { type: "monitor.completed" } as const];
    may("has sent everything: the destination's QEMU has the complete guest", false, {
      qemuD: withDestination(qemuD, { stream: "whole", facts }),
    });
  }
  if (qemuS.migration === "device" && qemuD.stream === "whole") {
    may("completes", false, { qemuS: completes(qemuS) });
    may("does not learn that the stream arrived, and fails", true, ends("failed"));
  }
  const canFail = endedAs(qemuS) === undefined && !isPastFailure(qemuS);
  if (canFail && !qemuD.alive) may("detects the broken stream", false, ends("failed"));
  if (canFail && qemuS.cpu === "stopped")
    may("fails and leaves its guest stopped", true, { qemuS: givesUp(qemuS, "failed", false) });
  if (qemuS.migration === "cancelling") {
    may("has cancelled", false, ends("cancelled"));
    if (qemuS.postcopyRequested && qemuS.cpu === "stopped")
      may("has cancelled and leaves its guest stopped", false, { qemuS: givesUp(qemuS, "cancelled", false) });
    if (qemuD.stream === "whole" && qemuS.cpu === "stopped")
      may("completes despite the cancel", false, { qemuS: completes(qemuS) });
  }
  may("dies", true, { qemuS: dies.source(qemuS), qemuDied: true });
  return moves;
}

/** In post-copy QEMU does not fail: it waits for a new connection. */
const isPastFailure = ({ migration }: SimulatedSource): boolean =>
  migration === "postcopy" || migration === "broken" || migration === "hung";

function postcopyMoves(qemuS: SimulatedSource, qemuD: SimulatedDestination): Move[] {
  const moves: Move[] = [];
  const may = (name: string, fault: boolean, change: Change) =>
    moves.push({ name: `the source's QEMU ${name}`, fault, change });
  const broken = { qemuS: breaks.source(qemuS), qemuD: breaks.destination(qemuD) };
  const connected = qemuD.alive && qemuD.stream === "partly";
  if (qemuS.migration === "active" && qemuS.postcopyRequested && qemuS.disks === "shared" && qemuD.alive)
    may("pauses the guest and switches to post-copy", false, { qemuS: goesToPostcopy(qemuS) });
  if (qemuS.migration === "toPostcopy") {
    if (qemuD.alive && qemuD.stream === "active")
      may("has sent the device state: the destination's QEMU can run the guest", false, {
        qemuD: hasDevices(qemuD),
      });
    if (connected) may("is in post-copy", false, { qemuS: isInPostcopy(qemuS) });
    if (connected) may("loses its connection as post-copy begins", true, broken);
    // Neither QEMU can run the guest after this: the loss is a limitation of QEMU.
    if (!connected) may("loses its connection just before post-copy", true, { ...broken, qemuDied: true });
  }
  if (qemuS.migration === "postcopy") {
    if (connected) {
      const facts = [...qemuD.facts, { type: "monitor.completed" } as const];
      may("has sent all memory", false, { qemuD: withDestination(qemuD, { stream: "whole", facts }) });
      may("loses its connection in post-copy", true, broken);
      // QEMU 7.2 does not detect this loss at its end: neither QEMU can continue.
      may("hangs when everything is sent, and the data in transit is lost", true, {
        qemuS: withSource(qemuS, { migration: "hung" }),
        qemuD: breaks.destination(qemuD),
        qemuDied: true,
      });
    }
    if (qemuD.stream === "whole") {
      may("completes", false, { qemuS: completes(qemuS) });
      may("hangs at completion", true, { qemuS: withSource(qemuS, { migration: "hung" }) });
    }
    if (!qemuD.alive) may("detects the broken stream in post-copy", false, broken);
  }
  return moves;
}

function destinationMoves(qemuS: SimulatedSource, qemuD: SimulatedDestination): Move[] {
  const dead = dies.destination(qemuD);
  const killed: Move = {
    name: "the destination's QEMU dies",
    fault: true,
    change: { qemuD: dead, qemuDied: true },
  };
  const broken: Move = {
    name: "the destination's QEMU detects the broken stream and ends",
    fault: false,
    change: { qemuD: dead },
  };
  const paused: Move = {
    name: "the destination's QEMU detects the broken stream in post-copy",
    fault: false,
    change: { qemuD: breaks.destination(qemuD) },
  };
  if (qemuD.stream === "partly" && streamLost(qemuS)) return [paused, killed];
  return qemuD.stream === "active" && streamLost(qemuS) ? [broken, killed] : [killed];
}

const streamLost = (qemuS: SimulatedSource): boolean =>
  !qemuS.alive ||
  qemuS.migration === "broken" ||
  (endedAs(qemuS) !== undefined && qemuS.migration !== "completed");
