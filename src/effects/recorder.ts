// The recorder: writes the states and notices of an actor to the journal, in order, and lets an effect wait until
// everything recorded before it is durable. Upholds the write-ahead rule behind G1 and G3.
//
// A machine may repeat an effect for as long as a host is unreachable. Each state that it passes through meanwhile is
// recorded once: a restarted engine continues in the same place from any of them, so a repeated record would protect
// nothing, and the story of a migration that waits for weeks would fill the disk. The attempt counter does not survive
// a crash.

import type { AnyMachineSnapshot, AnyStateMachine, EventObject } from "xstate";
import type { CoordinatorMemory } from "../machines/coordinator/machine.js";
import type { DestinationMemory } from "../machines/destination/machine.js";
import type { CommonContext, Notice } from "../machines/shared/actions.js";
import { placeOf } from "../machines/shared/states.js";
import { stateName } from "../machines/shared/walk.js";
import type { SourceMemory } from "../machines/source/machine.js";
import type { Side } from "../protocol/steps.js";
import { apart } from "./isolate-callback.js";
import type { Clock, Journal, JournalRecord, OpenedRecord } from "./ports.js";

export interface Recorder {
  /**
   * Returns the same machine; its actor's states are recorded as they are entered, before the effects that they
   * start. A state already recorded during the same stay is not recorded again.
   */
  recording<Machine extends AnyStateMachine>(machine: Machine): Machine;
  /** For `actor.on("*")`: records the machine's notices. */
  readonly aside: (aside: Notice) => void;
  /** Resolves when everything recorded so far is durable; rejects when the journal failed. */
  durable(): Promise<void>;
}

/** The parts of each machine's context that must survive a crash, by side. */
export const persistedKeys = {
  source: [
    "guest",
    "settings",
    "earlier",
    "prepared",
    "limits",
    "postcopy",
    "measures",
  ] satisfies (keyof SourceMemory)[],
  destination: ["prepared", "memory", "postcopy"] satisfies (keyof DestinationMemory)[],
  coordinator: ["guest", "prepared", "source", "destination"] satisfies (keyof CoordinatorMemory)[],
} as const;

export function createRecorder(options: {
  migrationId: string;
  side: Side;
  journal: Journal;
  clock: Clock;
  /** The input with which the side is started; absent when it was started before a crash and is resumed. */
  opened?: Pick<OpenedRecord, "side" | "input" | "host"> | undefined;
  /** Receives each record at once, before it is durable. */
  onRecord?: ((record: JournalRecord) => void) | undefined;
}): Recorder {
  const { migrationId, side, journal, clock, onRecord, opened } = options;
  let written: Promise<void> = Promise.resolve();
  let lastState = "";
  let last: AnyContext | undefined;
  let stay = stayIn("");

  const append = (record: JournalRecord) => {
    // After a failed record no later one may count: the chain stays broken.
    written = written.then(() => journal.append(record));
    written.catch(() => {});
    apart(() => onRecord?.(record));
  };

  const note = (snapshot: AnyMachineSnapshot, event: string) => {
    const state = stateName(snapshot);
    const now = snapshot.context as AnyContext;
    const before = last ?? now;
    const learned = persistedKeys[side].filter((name) => now[name] !== before[name]);
    if (state === lastState && learned.length === 0) return;
    lastState = state;
    const because = now.failures.slice(before.failures.length);
    const undone = now.undone.slice(before.undone.length);
    const place = placeOf(side, state);
    if (place !== stay.place || learned.length + because.length + undone.length > 0) stay = stayIn(place);
    else if (stay.states.has(state)) return;
    stay.states.add(state);
    last = now;
    append({
      kind: "state",
      migrationId,
      side,
      atMs: clock.now(),
      state,
      event,
      because,
      undone,
      learned: Object.fromEntries(learned.map((name) => [name, now[name]])),
    });
  };
  if (opened !== undefined) {
    append({ kind: "opened", migrationId, atMs: clock.now(), ...opened } as OpenedRecord);
  }

  return {
    recording: (machine) => {
      const noted = (snapshot: AnyMachineSnapshot, event: string) => {
        note(snapshot, event);
        return snapshot;
      };
      // XState's inspection API reports a state only after its effects have started, and costs about 20 % of a
      // transition.
      return Object.assign(Object.create(machine), {
        getInitialSnapshot: ((scope, input) =>
          noted(
            machine.getInitialSnapshot(scope, input),
            opened === undefined ? "engine.restarted" : "opened",
          )) satisfies typeof machine.getInitialSnapshot,
        transition: ((snapshot, event: EventObject, scope) =>
          noted(machine.transition(snapshot, event, scope), event.type)) satisfies typeof machine.transition,
      });
    },
    aside: (aside) => {
      // A peer that repeats a question and gets the same answer in the same place adds nothing to the story.
      if (aside.type === "kept" || aside.type === "refused") {
        const key = `${aside.type} ${aside.event} ${aside.why}`;
        if (stay.asides.has(key)) return;
        stay.asides.add(key);
      }
      append({ kind: "aside", migrationId, side, atMs: clock.now(), aside });
    },
    durable: () => written,
  };
}

/** The states recorded since the machine came to a place, or since anything durable changed there. */
const stayIn = (place: string) => ({ place, states: new Set<string>(), asides: new Set<string>() });

type AnyContext = CommonContext & Readonly<Record<string, unknown>>;
