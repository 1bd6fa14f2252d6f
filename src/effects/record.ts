// The recorder: writes every state and every aside of an actor to the journal, in order, and lets an effect wait
// until all that was said before it is durable. Upholds the write-ahead rule behind G1 and G3.

import type { InspectionEvent } from "xstate";
import type { Aside } from "../machines/habits.js";
import type { Failure } from "../protocol/failures.js";
import type { Side } from "../protocol/steps.js";
import { apart } from "./apart.js";
import type { Clock, Journal, JournalRecord } from "./ports.js";

export interface Recorder {
  /** For createActor's `inspect`: writes down each new state of the root actor. */
  readonly inspect: (event: InspectionEvent) => void;
  /** For `actor.on("*")`: writes down what the machine says aside. */
  readonly aside: (aside: Aside) => void;
  /** Resolves when everything recorded so far is durable; rejects when the journal failed. */
  durable(): Promise<void>;
}

export function createRecorder(options: {
  migrationId: string;
  side: Side;
  journal: Journal;
  clock: Clock;
  /** Told of each record at once, before it is durable. */
  onRecord?: ((record: JournalRecord) => void) | undefined;
}): Recorder {
  const { migrationId, side, journal, clock, onRecord } = options;
  let written: Promise<void> = Promise.resolve();
  let lastState = "";
  let told = 0;

  const append = (record: JournalRecord) => {
    // A record that failed must not be followed by one that counts: the chain stays broken.
    written = written.then(() => journal.append(record));
    written.catch(() => {});
    apart(() => onRecord?.(record));
  };

  return {
    inspect: (inspected) => {
      if (inspected.type !== "@xstate.snapshot" || inspected.actorRef.sessionId !== inspected.rootId) return;
      if (!("value" in inspected.snapshot)) return;
      const state = stateName(inspected.snapshot.value);
      if (state === lastState) return;
      lastState = state;
      const failures = failuresOf(inspected.snapshot);
      const because = failures.slice(told);
      told = failures.length;
      const event = inspected.event.type;
      append({ kind: "state", migrationId, side, atMs: clock.now(), state, event, because });
    },
    aside: (aside) => append({ kind: "aside", migrationId, side, atMs: clock.now(), aside }),
    durable: () => written,
  };
}

/** Each of our machines keeps what has gone wrong in its context. */
function failuresOf(snapshot: { readonly value: unknown }): readonly Failure[] {
  const { context } = snapshot as { context?: { failures?: readonly Failure[] } };
  return context?.failures ?? [];
}

/** XState's value as one string: `settling.asking`, `precopying(limits.told, watchdog.watching)`. */
export function stateName(value: unknown): string {
  if (typeof value !== "object" || value === null) return String(value);
  const inner = Object.entries(value).map(([name, child]) => {
    const below = stateName(child);
    return below === "" ? name : below.startsWith("(") ? `${name}${below}` : `${name}.${below}`;
  });
  return inner.length === 1 ? inner.join("") : `(${inner.join(", ")})`;
}
