// Begins the machine of one side, or takes it up again after a crash: effects bound, states and asides recorded. The actor
// is handed out before it starts, so that it can be watched from its first state on.

import { createActor } from "xstate";
import type { CoordinatorInput } from "../machines/coordinator.js";
import type { DestinationInput } from "../machines/destination.js";
import type { SourceInput } from "../machines/source.js";
import { fencedGuest } from "../machines/source-setup.js";
import { type Around, bindCoordinator, bindDestination, bindSource } from "./bind.js";
import type {
  Clock,
  DestinationGuest,
  DestinationPeer,
  Fence,
  Journal,
  JournalRecord,
  OpenedRecord,
  SettlingPeer,
  SourceGuest,
  SourcePeer,
} from "./ports.js";
import { createRecorder } from "./record.js";

/** What a side needs beside its guest and its peers. */
export interface Surroundings {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly fence?: Fence | undefined;
  readonly around?: Around | undefined;
  /** Told each record of the story at once. */
  readonly onRecord?: ((record: JournalRecord) => void) | undefined;
}

/** A side that has been begun: its machine, and a wait until all that it has recorded so far is durable. */
export interface Opened<Actor> {
  readonly actor: Actor;
  readonly durable: () => Promise<void>;
}

/** `host` is what the driver needs to find its QEMU again. */
export function openSource(
  surroundings: Surroundings,
  input: SourceInput,
  guest: SourceGuest,
  destination: SettlingPeer,
  host: unknown,
) {
  const around = open(surroundings, { side: "source", input, host });
  const actor = createActor(bindSource(around, guest, destination), { ...around.timers, input });
  actor.on("*", around.recorder.aside);
  actor.subscribe({
    complete: () => {
      const { output, context } = actor.getSnapshot();
      const fenced = fencedGuest(context);
      // The effects of a source that has left have done so; of one that is stuck the fence must know on.
      if (fenced !== null && (output?.outcome === "stayed" || output?.outcome === "lost"))
        void around.fence?.release(fenced);
    },
  });
  return { actor, durable: around.recorder.durable };
}

export function openDestination(
  surroundings: Surroundings,
  input: DestinationInput,
  guest: DestinationGuest,
  host: unknown,
) {
  const around = open(surroundings, { side: "destination", input, host });
  const actor = createActor(bindDestination(around, guest), { ...around.timers, input });
  actor.on("*", around.recorder.aside);
  return { actor, durable: around.recorder.durable };
}

export function openCoordinator(
  surroundings: Surroundings,
  input: CoordinatorInput,
  source: SourcePeer,
  destination: DestinationPeer,
  host: unknown = null,
) {
  const around = open(surroundings, { side: "coordinator", input, host });
  const actor = createActor(bindCoordinator(around, source, destination), { ...around.timers, input });
  actor.on("*", around.recorder.aside);
  return actor;
}

function open(
  { journal, clock, fence, around, onRecord }: Surroundings,
  opened: Pick<OpenedRecord, "side" | "input" | "host">,
) {
  const { side, input } = opened;
  const recorder = createRecorder({
    migrationId: input.identity.migrationId,
    side,
    journal,
    clock,
    onRecord,
    // After a crash it stands in the journal already.
    opened: "woken" in input && input.woken !== undefined ? undefined : opened,
  });
  const timers = { clock: { setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout } };
  return { identity: input.identity, recorder, clock, fence, around, timers };
}
