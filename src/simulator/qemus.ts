// Models of the two QEMUs and the fence, with the behaviour that was measured on QEMU 7.2. Each is an immutable value: a change
// returns another value, and equal values are the same object.

import type { DestinationFact, SourceFact } from "../effects/ports.js";
import type { Progress } from "../protocol/convergence/limits.js";
import { cause } from "../protocol/effect-result.js";
import type { Ended } from "../protocol/messages.js";

/** Interns values: equal values become the same object, with a small number. */
class Pool<Parts extends object> {
  readonly #known = new Map<string, Parts & { readonly id: number }>();
  get(parts: Parts): Parts & { readonly id: number } {
    const key = JSON.stringify(parts);
    let known = this.#known.get(key);
    if (known === undefined) {
      known = { ...parts, id: this.#known.size };
      this.#known.set(key, known);
    }
    return known;
  }
}

interface SourceParts {
  readonly alive: boolean;
  readonly cpu: "running" | "stopped";
  readonly migration:
    | "none"
    | "active"
    | "preSwitchover"
    | "device"
    /** QEMU is switching to post-copy and may still fail. */
    | "toPostcopy"
    | "postcopy"
    /** The connection broke when all memory had been sent: QEMU 7.2 never completes and cannot be made to drop it. */
    | "hung"
    | "cancelling"
    | Ended;
  /** QEMU switches to post-copy as soon as possible. */
  readonly postcopyRequested: boolean;
  /** `following`: every write is mirrored. `ended`: the mirrors are complete and no longer follow. */
  readonly disks: "shared" | "alone" | "copying" | "following" | "ended" | "broken";
  /** The guest has stopped and this is not reported yet: a short downtime ends before its beginning is reported. */
  readonly stopUntold: boolean;
  /** A rule of the convergence policy suspended the guest; QEMU does not resume it by itself. */
  readonly suspended: boolean;
  /** The number of times of the convergence policy that QEMU has reported; 0 without such a policy. */
  readonly reported: number;
  /** Events that are emitted but not delivered yet, in order. */
  readonly facts: readonly SourceFact[];
}
export type SimulatedSource = SourceParts & { readonly id: number };

interface DestinationParts {
  readonly alive: boolean;
  readonly everRan: boolean;
  readonly cpu: "running" | "stopped";
  /** `stale`: complete, but the source's guest has run on since; running it would lose acknowledged writes (G4). */
  readonly stream:
    | "none"
    | "listening"
    | "active"
    | "partly"
    | "partlyBroken"
    | "partlyListening"
    | "whole"
    | "stale";
  readonly facts: readonly DestinationFact[];
}
export type SimulatedDestination = DestinationParts & { readonly id: number };

const sources = new Pool<SourceParts>();
const destinations = new Pool<DestinationParts>();

export const firstSource: SimulatedSource = sources.get({
  alive: true,
  cpu: "running",
  migration: "none",
  postcopyRequested: false,
  disks: "shared",
  stopUntold: false,
  suspended: false,
  reported: 0,
  facts: [],
});
export const firstDestination: SimulatedDestination = destinations.get({
  alive: false,
  everRan: false,
  cpu: "stopped",
  stream: "none",
  facts: [],
});

export const withSource = ({ id: _, ...parts }: SimulatedSource, change: Partial<SourceParts>) =>
  sources.get({ ...parts, ...change });
export const withDestination = (
  { id: _, ...parts }: SimulatedDestination,
  change: Partial<DestinationParts>,
) => destinations.get({ ...parts, ...change });

/** `broken` is not a final state: a new connection can follow. */
export const endedAs = ({ migration }: SimulatedSource): Ended | undefined =>
  migration === "none" || migration === "cancelled" || migration === "failed" || migration === "completed"
    ? migration
    : undefined;

const exited = { type: "process.exited", cause: cause("killed") } as const;
const someProgress = {
  remainingBytes: 1,
  totalBytes: 1,
  dirtyBytesPerSecond: 0,
  bandwidthBytesPerSecond: 0,
  pass: 1,
  expectedDowntimeMs: null,
  disks: null,
};
const stopped = { type: "monitor.stopped" } as const;

export const dies = {
  source: (simulatedSource: SimulatedSource): SimulatedSource =>
    simulatedSource.alive
      ? withSource(simulatedSource, { alive: false, facts: [...simulatedSource.facts, exited] })
      : simulatedSource,
  destination: (simulatedDestination: SimulatedDestination): SimulatedDestination =>
    simulatedDestination.alive
      ? withDestination(simulatedDestination, {
          alive: false,
          cpu: "stopped",
          facts: [...simulatedDestination.facts, exited],
        })
      : simulatedDestination,
};

/** Keeps only the events that a restarted engine still receives: the exit. Other events are lost. */
export const unheard = {
  source: (simulatedSource: SimulatedSource): SimulatedSource =>
    withSource(simulatedSource, {
      stopUntold: false,
      reported: 0,
      facts: simulatedSource.alive ? [] : [exited],
    }),
  destination: (simulatedDestination: SimulatedDestination): SimulatedDestination =>
    withDestination(simulatedDestination, {
      facts: simulatedDestination.alive || simulatedDestination.stream === "none" ? [] : [exited],
    }),
};

/**
 * Returns the representative of all dead QEMUs with the same future. A dead source still determines whether the mirrored disks
 * are complete; a dead destination determines whether it can be prepared and whether the source's QEMU completes.
 */
export const onceDead = {
  source: (simulatedSource: SimulatedSource): SimulatedSource =>
    simulatedSource.alive
      ? simulatedSource
      : withSource(firstSource, {
          alive: false,
          cpu: "stopped",
          disks: simulatedSource.disks,
          facts: simulatedSource.facts,
        }),
  destination: (simulatedDestination: SimulatedDestination): SimulatedDestination =>
    simulatedDestination.alive ||
    simulatedDestination.stream === "none" ||
    simulatedDestination.stream === "whole"
      ? simulatedDestination
      : withDestination(simulatedDestination, { stream: "stale" }),
};

export const pauses = (simulatedSource: SimulatedSource, then: "preSwitchover" | "device", told: boolean) =>
  withSource(simulatedSource, {
    cpu: "stopped",
    migration: then,
    stopUntold: !told && then === "device" && !simulatedSource.suspended,
    facts: [
      ...simulatedSource.facts,
      ...(told ? [stopped] : []),
      ...(then === "preSwitchover" ? [{ type: "monitor.preSwitchover" } as const] : []),
    ],
  });

/** Reports that memory has been sent for this long. */
export const reports = (simulatedSource: SimulatedSource, elapsedMs: number): SimulatedSource => {
  const progress: Progress = { ...someProgress, elapsedMs, transferredBytes: simulatedSource.reported + 1 };
  const facts = [...simulatedSource.facts, { type: "monitor.progressed", progress } as const];
  return withSource(simulatedSource, { reported: simulatedSource.reported + 1, facts });
};

export const tellsStop = (simulatedSource: SimulatedSource): SimulatedSource =>
  simulatedSource.stopUntold
    ? withSource(simulatedSource, { stopUntold: false, facts: [...simulatedSource.facts, stopped] })
    : simulatedSource;

export const completes = (simulatedSource: SimulatedSource): SimulatedSource =>
  withSource(simulatedSource, {
    migration: "completed",
    stopUntold: false,
    facts: [...simulatedSource.facts, { type: "monitor.completed" }],
  });

/** Does not repeat an event that was emitted last and is not delivered yet. */
export const told = <Fact extends { readonly type: string }>(facts: readonly Fact[], fact: Fact) =>
  facts.at(-1)?.type === fact.type ? facts : [...facts, fact];

export const follows = (simulatedSource: SimulatedSource): SimulatedSource =>
  withSource(simulatedSource, {
    disks: "following",
    facts: told(simulatedSource.facts, { type: "monitor.mirrored" }),
  });

export const losesCopy = (simulatedSource: SimulatedSource): SimulatedSource =>
  withSource(simulatedSource, {
    disks: "broken",
    facts: [...simulatedSource.facts, { type: "monitor.mirrorFailed", cause: cause("the connection broke") }],
  });
/** Returns whether QEMU by itself resumes a guest that it stopped for the switchover when the migration does not complete. */
export const goesOn = (simulatedSource: SimulatedSource): boolean =>
  simulatedSource.cpu === "stopped" && !simulatedSource.suspended;

/** QEMU usually resumes its guest by itself when its migration does not complete; otherwise a command has to resume it. */
export function givesUp(
  simulatedSource: SimulatedSource,
  how: "failed" | "cancelled",
  resumes = true,
): SimulatedSource {
  const resumed = resumes && goesOn(simulatedSource);
  const told = resumed ? tellsStop(simulatedSource).facts : simulatedSource.facts;
  return withSource(simulatedSource, {
    cpu: resumed ? "running" : simulatedSource.cpu,
    migration: how,
    stopUntold: false,
    facts: [
      ...told,
      ...(resumed ? [{ type: "monitor.resumed" } as const] : []),
      how === "failed"
        ? { type: "monitor.failed", cause: cause("stream broke") }
        : { type: "monitor.cancelled" },
    ],
  });
}

/** The source's guest runs again: the destination's copy, complete or in post-copy, becomes outdated. */
export const goesStale = (simulatedDestination: SimulatedDestination): SimulatedDestination =>
  simulatedDestination.stream === "whole" || isPartly(simulatedDestination)
    ? withDestination(simulatedDestination, { stream: "stale" })
    : simulatedDestination;

/** Post-copy at the destination: the device state is loaded and the guest can run. */
export const isPartly = ({ stream }: SimulatedDestination): boolean => stream.startsWith("partly");

const postcopy = { type: "monitor.postcopy" } as const;
const postcopyPaused = { type: "monitor.postcopyPaused" } as const;

export const goesToPostcopy = (simulatedSource: SimulatedSource): SimulatedSource =>
  withSource(simulatedSource, { cpu: "stopped", migration: "toPostcopy", stopUntold: true });

/** Post-copy at the source: QEMU can no longer fail. */
export const isInPostcopy = (simulatedSource: SimulatedSource): SimulatedSource =>
  withSource(simulatedSource, {
    migration: "postcopy",
    stopUntold: false,
    facts: told(simulatedSource.facts, postcopy),
  });

/** Post-copy at the destination: the guest can run. */
export const hasDevices = (simulatedDestination: SimulatedDestination): SimulatedDestination =>
  withDestination(simulatedDestination, {
    stream: "partly",
    facts: told(simulatedDestination.facts, postcopy),
  });

export const breaks = {
  source: (simulatedSource: SimulatedSource): SimulatedSource =>
    withSource(simulatedSource, {
      migration: "broken",
      stopUntold: false,
      facts: told(simulatedSource.facts, postcopyPaused),
    }),
  destination: (simulatedDestination: SimulatedDestination): SimulatedDestination =>
    simulatedDestination.alive && simulatedDestination.stream === "partly"
      ? withDestination(simulatedDestination, {
          stream: "partlyBroken",
          facts: told(simulatedDestination.facts, postcopyPaused),
        })
      : simulatedDestination,
};
