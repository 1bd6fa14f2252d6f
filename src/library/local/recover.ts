// `recoverMigrations`: resumes the unfinished migrations of a journal after a crash of this process: re-attaches to their
// QEMUs and continues or undoes each. The machines make all decisions.

import { waitFor } from "xstate";
import {
  fetchesMemory,
  interrupted,
  wokenCoordinator,
  wokenDestination,
  wokenSource,
} from "../../drivers/journal/story.js";
import type { FileJournal, OpenStory } from "../../drivers/journal/types.js";
import { systemClock } from "../../drivers/platform/clock.js";
import { QemuDestinationGuest } from "../../drivers/qemu/guest/destination-guest.js";
import { findDestination, findSource } from "../../drivers/qemu/guest/recovery-records.js";
import { QemuSourceGuest } from "../../drivers/qemu/guest/source-guest.js";
import { type EngineContext, openCoordinator, openDestination, openSource } from "../../effects/actors.js";
import type { EffectInterceptor } from "../../effects/bind.js";
import { localDestination, localSource } from "../../effects/in-process-peers.js";
import type { Clock, Fence } from "../../effects/ports.js";
import type { Inspect, Observe } from "../../effects/trace.js";
import { messageOf } from "../../protocol/effect-result.js";
import { conduct, type Migration } from "../migration-handle.js";
import { timesOf } from "./migrate.js";
import { holding } from "./one-migration.js";
import { asRunningGuest } from "./running-guest.js";

export interface RecoverOptions {
  readonly journal: FileJournal;
  readonly fence?: Fence;
  readonly clock?: Clock;
  readonly observe?: Observe;
  /** As in `migrate`. */
  readonly inspect?: Inspect;
}

export interface Recovered {
  /** The resumed migrations. */
  readonly migrations: readonly Migration[];
  /** Why migrations could not be resumed: an unreadable journal, a QEMU that does not answer. These are left unchanged. */
  readonly failed: readonly Error[];
}

/** Resumes every unfinished migration of the journal; each ends as if there had been no crash. */
export const recoverMigrations = (options: RecoverOptions): Promise<Recovered> => recoverWith(options);

/**
 * `around` as in `migrateWith`.
 * @internal
 */
export async function recoverWith(options: RecoverOptions, around?: EffectInterceptor): Promise<Recovered> {
  const { journal, clock = systemClock, fence, observe, inspect } = options;
  const { stories, unreadable } = await journal.unfinished();
  const migrations: Migration[] = [];
  const failed: Error[] = [...unreadable];
  for (const story of stories) {
    try {
      const migration = await resumeFromJournal(story, { journal, clock, fence, around, observe, inspect });
      if (migration === null) await journal.forget(story.migrationId);
      else migrations.push(migration);
    } catch (error) {
      failed.push(new Error(`${story.path} cannot be resumed: ${messageOf(error)}`, { cause: error }));
    }
  }
  return { migrations, failed };
}

/** Returns null when the migration had not begun: the source's guest has not been touched. */
async function resumeFromJournal(story: OpenStory, surroundings: EngineContext): Promise<Migration | null> {
  const { clock } = surroundings;
  const { migrationId } = story;
  const source = interrupted(story, "source");
  if (source === null) return null;
  if (surroundings.fence === undefined && isFenced(story)) {
    throw new Error("the migration uses a fence; pass the same fence to recover it");
  }
  const from = await findSource(source.opened.host, { clock });
  const { input } = source.opened;

  const destination = interrupted(story, "destination");
  const to =
    destination &&
    (await findDestination(
      destination.opened.host,
      { clock },
      { fetchesMemory: fetchesMemory(destination) },
    ));
  const there =
    destination &&
    to &&
    openDestination(surroundings, wokenDestination(destination), to.guest, destination.opened.host);
  there?.actor.start();
  // Until the destination has determined the state of its stream, it would only defer requests.
  if (there) await waitFor(there.actor, (snapshot) => !snapshot.matches({ incoming: "probing" }));
  const destinationPeer = localDestination(there);

  const here = openSource(surroundings, wokenSource(source), from.guest, destinationPeer, source.opened.host);
  const coordinator = interrupted(story, "coordinator");
  const coordinatorActor = openCoordinator(
    surroundings,
    coordinator === null
      ? { identity: input.identity, deadlines: input.deadlines }
      : wokenCoordinator(coordinator),
    localSource(here),
    destinationPeer,
  );

  const migration = conduct({
    migrationId,
    source: here.actor,
    coordinator: coordinatorActor,
    destination: () => there?.actor ?? null,
    onChange: (changed) => there?.actor.subscribe({ next: changed, error: changed }),
    guestAt: async (side) => {
      const at = side === "source" ? from : to;
      return at?.qemu ? asRunningGuest(at.spec, at.qemu) : null;
    },
    times: async () =>
      from.guest instanceof QemuSourceGuest && to?.guest instanceof QemuDestinationGuest
        ? timesOf(from.guest, to.guest)
        : { downtimeMs: null, qemuTotalMs: null },
    finalize: async () => {
      if (to?.guest instanceof QemuDestinationGuest) await to.guest.finalize();
    },
  });
  if (from.qemu === null) return migration;
  const sourceEnded = waitFor(here.actor, ({ status }) => status !== "active");
  const guest = asRunningGuest(from.spec, from.qemu);
  return { ...migration, outcome: holding(guest, migrationId, migration.outcome, sourceEnded) };
}

function isFenced(story: OpenStory): boolean {
  const destination = interrupted(story, "destination");
  const source = interrupted(story, "source");
  return (
    source?.opened.input.policy.whenUnreachable === "fence" ||
    (destination !== null && destination.opened.input.guest.fencingToken !== null)
  );
}
