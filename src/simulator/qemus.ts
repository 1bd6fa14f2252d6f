// The two QEMUs of the simulated world and the fence: what they would do by themselves, as facts/qemu.md has measured it.
// Each is a value: whatever happens to it makes another, and equal ones are the same object.

import type { DestinationFact, SourceFact } from "../effects/ports.js";
import type { Progress } from "../protocol/convergence/limits.js";
import { cause } from "../protocol/effect-result.js";
import type { Ended } from "../protocol/messages.js";

/** Gives equal values the same object, with a small number. */
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
    /** It goes over to post-copy, and may still fail. */
    | "toPostcopy"
    | "postcopy"
    /** Its connection broke as all memory had been sent: it never completes, and cannot be told to break it (QEMU 7.2). */
    | "hung"
    | "cancelling"
    | Ended;
  /** It goes over to post-copy when it can. */
  readonly postcopyRequested: boolean;
  /** `following`: every write is copied. `ended`: the copies are whole, and no longer follow. */
  readonly disks: "shared" | "alone" | "copying" | "following" | "ended" | "broken";
  /** The guest has stopped, and nobody has been told yet: a short pause is over before its beginning is told. */
  readonly stopUntold: boolean;
  /** The guest was paused because a rule of the convergence policy was due; QEMU does not let it go on by itself. */
  readonly suspended: boolean;
  /** How many of the times that the convergence policy waits for it has reported; 0 without such a policy. */
  readonly reported: number;
  /** What it has said and nobody has heard yet, in order. */
  readonly facts: readonly SourceFact[];
}
export type SimulatedSource = SourceParts & { readonly id: number };

interface DestinationParts {
  readonly alive: boolean;
  readonly everRan: boolean;
  readonly cpu: "running" | "stopped";
  /** `stale`: it was whole, but the source's guest has gone on since; to run it would lose what that has written (G4). */
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

export const withSource = ({ id: _, ...it }: SimulatedSource, change: Partial<SourceParts>) =>
  sources.get({ ...it, ...change });
export const withDestination = ({ id: _, ...it }: SimulatedDestination, change: Partial<DestinationParts>) =>
  destinations.get({ ...it, ...change });

/** `broken` is no end: nothing follows from it. */
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

/** What a restarted engine still hears of a QEMU: that it is dead. What it has said meanwhile is gone. */
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
 * Returns the QEMU that stands for all dead ones with the same future. A dead source still decides whether the copied disks
 * are whole; a dead destination decides whether it can be prepared, and whether the source's QEMU completes.
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

/** Memory has been sent for that long. */
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

/** What was said last, and is not heard yet, is not said again. */
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
/** Whether QEMU's guest, stopped for the switchover, goes on by itself when the migration does not complete. */
export const goesOn = (simulatedSource: SimulatedSource): boolean =>
  simulatedSource.cpu === "stopped" && !simulatedSource.suspended;

/** QEMU lets its guest go on by itself when its migration does not complete; not always, and then it has to be told. */
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

/** The source's guest runs again: a destination that has it, whole or in post-copy, has it no longer. */
export const goesStale = (simulatedDestination: SimulatedDestination): SimulatedDestination =>
  simulatedDestination.stream === "whole" || isPartly(simulatedDestination)
    ? withDestination(simulatedDestination, { stream: "stale" })
    : simulatedDestination;

/** In post-copy: its devices are loaded, and the guest can run. */
export const isPartly = ({ stream }: SimulatedDestination): boolean => stream.startsWith("partly");

const postcopy = { type: "monitor.postcopy" } as const;
const postcopyPaused = { type: "monitor.postcopyPaused" } as const;

export const goesToPostcopy = (simulatedSource: SimulatedSource): SimulatedSource =>
  withSource(simulatedSource, { cpu: "stopped", migration: "toPostcopy", stopUntold: true });

/** At the source: it cannot fail any more. */
export const isInPostcopy = (simulatedSource: SimulatedSource): SimulatedSource =>
  withSource(simulatedSource, {
    migration: "postcopy",
    stopUntold: false,
    facts: told(simulatedSource.facts, postcopy),
  });

/** At the destination: the guest can be run. */
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
