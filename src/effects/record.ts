// The recorder: writes every state and every aside of an actor to the journal, in order, and lets an effect wait
// until all that was said before it is durable. Upholds the write-ahead rule behind G1 and G3.

import type { AnyMachineSnapshot, AnyStateMachine, EventObject } from "xstate";
import type { Aside } from "../machines/habits.js";
import type { Failure } from "../protocol/failures.js";
import type { Side } from "../protocol/steps.js";
import { apart } from "./apart.js";
import type { Clock, Journal, JournalRecord } from "./ports.js";

export interface Recorder {
  /** The same machine; its actor's states are written down as they are entered, before the effects that they begin. */
  recording<Machine extends AnyStateMachine>(machine: Machine): Machine;
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

  const note = ({ value, context }: AnyMachineSnapshot, event: string) => {
    const state = stateName(value);
    if (state === lastState) return;
    lastState = state;
    const { failures } = context as { failures: readonly Failure[] };
    const because = failures.slice(told);
    told = failures.length;
    append({ kind: "state", migrationId, side, atMs: clock.now(), state, event, because });
  };

  return {
    recording: (machine) => {
      const noted = (snapshot: AnyMachineSnapshot, event: string) => {
        note(snapshot, event);
        return snapshot;
      };
      // XState's inspection tells a state only after its effects have begun, and takes a fifth of a transition's time.
      return Object.assign(Object.create(machine), {
        getInitialSnapshot: ((scope, input) =>
          noted(
            machine.getInitialSnapshot(scope, input),
            "init",
          )) satisfies typeof machine.getInitialSnapshot,
        transition: ((snapshot, event: EventObject, scope) =>
          noted(machine.transition(snapshot, event, scope), event.type)) satisfies typeof machine.transition,
      });
    },
    aside: (aside) => append({ kind: "aside", migrationId, side, atMs: clock.now(), aside }),
    durable: () => written,
  };
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
