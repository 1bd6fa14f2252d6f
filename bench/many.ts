// Measures 50 migrations at once in one process against 1 alone, in turn, with simulated guests: the machines, the
// coordinator and the journal on disk are the real ones. Prints a table and writes bench/results/many.json.
// `npm run bench:many [rounds]`.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { openFileJournal } from "../src/drivers/journal/file-journal.js";
import { type DestinationActor, localDestination, localSource } from "../src/drivers/local-peers.js";
import { systemClock, systemIds } from "../src/drivers/system.js";
import { openCoordinator, openDestination, openSource } from "../src/effects/open.js";
import { conduct } from "../src/migration.js";
import { defaultLimits } from "../src/protocol/convergence.js";
import { defaultDeadlines } from "../src/protocol/deadlines.js";
import { defaultPolicy } from "../src/protocol/policy.js";
import { median } from "./median.js";
import { simulateGuest } from "./simulated-guest.js";

const rounds = Number(process.argv[2] ?? 20);
const many = 50;
const directory = mkdtempSync(join(tmpdir(), "switchover-bench-"));
const journal = await openFileJournal(directory);

/** As `migrate` puts the parts together, with a guest that is not there. */
function begin() {
  const migrationId = systemIds.next();
  const identity = { migrationId, uuid: migrationId, name: "bench" };
  const guest = simulateGuest(identity.uuid);
  const surroundings = { journal, clock: systemClock };
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
    times: async () => ({ pauseMs: null, qemuTotalMs: null }),
    putSettingsBack: async () => {},
  });
  return { ...migration, addedPauseMs: guest.addedPauseMs };
}

type Begun = ReturnType<typeof begin>;
const beginMany = (count: number) => Array.from({ length: count }, begin);

async function allArrived(migrations: readonly Begun[]): Promise<void> {
  for (const it of migrations) {
    const { kind, error } = await it.outcome;
    if (kind !== "arrived") throw new Error(`a migration of the bench ended ${kind}`, { cause: error });
  }
}

interface Timed {
  readonly wallMs: number;
  readonly medianPauseMs: number;
  readonly longestPauseMs: number;
  readonly processorMs: number;
}

async function time(count: number): Promise<Timed> {
  const processor = process.cpuUsage();
  const startedMs = performance.now();
  const migrations = beginMany(count);
  await allArrived(migrations);
  const wallMs = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(processor);
  const pauses = migrations.map((it) => it.addedPauseMs());
  return {
    wallMs,
    medianPauseMs: median(pauses),
    longestPauseMs: Math.max(...pauses),
    processorMs: (user + system) / 1000 / count,
  };
}

function heapBytes(): number {
  if (globalThis.gc === undefined) throw new Error("the bench needs node's --expose-gc");
  globalThis.gc();
  return process.memoryUsage().heapUsed;
}

/** In a run of its own: the collections would be in the others' times. */
async function weigh() {
  const beforeBytes = heapBytes();
  const underWayBytes = await heapUnderWay();
  await sleep(100);
  const perMigration = (bytes: number) => (bytes - beforeBytes) / many / 1024;
  return { underWayKiB: perMigration(underWayBytes), leftKiB: perMigration(heapBytes()) };
}

/** A function of its own, so that nothing here holds the migrations afterwards. */
async function heapUnderWay(): Promise<number> {
  const migrations = beginMany(many);
  await sleep(300);
  if (migrations.some((it) => !it.snapshot().source.startsWith("precopying")))
    throw new Error("not all migrations of the bench are under way");
  const bytes = heapBytes();
  await allArrived(migrations);
  return bytes;
}

const alone: Timed[] = [];
const atOnce: Timed[] = [];
const weighed: Awaited<ReturnType<typeof weigh>>[] = [];
// The first of each warms up.
for (let round = 0; round <= rounds; round += 1) {
  alone.push(await time(1));
  atOnce.push(await time(many));
  weighed.push(await weigh());
}
for (const it of [alone, atOnce, weighed]) it.shift();
console.log(alone, atOnce, weighed, readdirSync("/proc/self/fd").length);
rmSync(directory, { recursive: true, force: true });
