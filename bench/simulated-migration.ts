// Migrations of simulated guests in this process, with the real machines, coordinator and journal.

import { systemClock, systemIds } from "../src/drivers/platform/clock.js";
import { openCoordinator, openDestination, openSource } from "../src/effects/actors.js";
import { type DestinationActor, localDestination, localSource } from "../src/effects/in-process-peers.js";
import type { Journal } from "../src/effects/ports.js";
import type { Observe } from "../src/effects/trace.js";
import { conduct } from "../src/library/migration-handle.js";
import { defaultLimits } from "../src/protocol/convergence/limits.js";
import { defaultDeadlines } from "../src/protocol/deadlines.js";
import { defaultPolicy } from "../src/protocol/unreachable-policy.js";
import { median } from "./median.js";
import { simulateGuest } from "./simulated-guest.js";

export interface Around {
  readonly journal: Journal;
  readonly observe?: Observe | undefined;
}

/** Composes the parts as `migrate` does, with a simulated guest. */
function begin({ journal, observe }: Around, passes: number) {
  const migrationId = systemIds.next();
  const identity = { migrationId, uuid: migrationId, name: "bench" };
  const guest = simulateGuest(identity.uuid, passes);
  const surroundings = { journal, clock: systemClock, observe };
  const deadlines = defaultDeadlines;
  let destination: DestinationActor | null = null;
  let changed = () => {};
  const destinationPeer = localDestination((description) => {
    const input = { identity, guest: description, deadlines };
    const opened = openDestination(surroundings, input, guest.destination, null);
    destination = opened.actor;
    destination.subscribe({ next: () => changed(), error: () => changed() });
    destination.start();
    return opened;
  });
  const source = openSource(
    surroundings,
    { identity, limits: defaultLimits, deadlines, policy: defaultPolicy },
    guest.source,
    destinationPeer,
    null,
  );
  const input = { identity, deadlines };
  const migration = conduct({
    migrationId,
    source: source.actor,
    coordinator: openCoordinator(surroundings, input, localSource(source), destinationPeer),
    destination: () => destination,
    onChange: (listener) => {
      changed = listener;
    },
    guestAt: async () => null,
    times: async () => ({ downtimeMs: null, qemuTotalMs: null }),
    finalize: async () => {},
  });
  return { ...migration, addedPauseMs: guest.addedPauseMs };
}

type Begun = ReturnType<typeof begin>;
/** A pass of pre-copy takes 100 ms. */
export const beginMany = (around: Around, count: number, passes: number) =>
  Array.from({ length: count }, () => begin(around, passes));

export async function allArrived(migrations: readonly Begun[]): Promise<void> {
  for (const migration of migrations) {
    const { kind, error } = await migration.outcome;
    if (kind !== "arrived")
      throw new Error(`a migration of the benchmark ended with ${kind}`, { cause: error });
  }
}

export interface Timed {
  readonly wallMs: number;
  readonly medianPauseMs: number;
  readonly maxPauseMs: number;
  readonly processorMs: number;
}

export async function time(around: Around, count: number): Promise<Timed> {
  const processor = process.cpuUsage();
  const startedMs = performance.now();
  const migrations = beginMany(around, count, 5);
  await allArrived(migrations);
  const wallMs = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(processor);
  const pauses = migrations.map((migration) => migration.addedPauseMs());
  return {
    wallMs,
    medianPauseMs: median(pauses),
    maxPauseMs: Math.max(...pauses),
    processorMs: (user + system) / 1000 / count,
  };
}
