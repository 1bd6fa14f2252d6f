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
process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
const journal = await openFileJournal(directory);

/** As `migrate` puts the parts together, with a guest that is not there. */
function begin(passes: number) {
  const migrationId = systemIds.next();
  const identity = { migrationId, uuid: migrationId, name: "bench" };
  const guest = simulateGuest(identity.uuid, passes);
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
    settleIn: async () => {},
  });
  return { ...migration, addedPauseMs: guest.addedPauseMs };
}

type Begun = ReturnType<typeof begin>;
/** A pass of pre-copy takes 100 ms. */
const beginMany = (count: number, passes: number) => Array.from({ length: count }, () => begin(passes));

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
  const migrations = beginMany(count, 5);
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

/** When nothing is under way. */
async function held() {
  await sleep(100);
  return { bytes: heapBytes(), files: readdirSync("/proc/self/fd").length };
}

/** In a run of its own: the collections would be in the others' times. */
async function weigh() {
  const before = await held();
  const underWayBytes = await heapUnderWay();
  const after = await held();
  return {
    underWayKiB: (underWayBytes - before.bytes) / many / 1024,
    leftKiB: (after.bytes - before.bytes) / many / 1024,
    leftFiles: (after.files - before.files) / many,
  };
}

/** A function of its own, so that nothing here holds the migrations afterwards. */
async function heapUnderWay(): Promise<number> {
  const migrations = beginMany(many, 20);
  await sleep(1_000);
  if (migrations.some((it) => !it.snapshot().source.startsWith("precopying")))
    throw new Error("not all migrations of the bench are under way");
  const bytes = heapBytes();
  await allArrived(migrations);
  return bytes;
}

/** What the journal holds of one migration. */
function journalOf(name: string) {
  const text = readFileSync(join(directory, name));
  // The first line is the file's own.
  return { records: text.toString().trimEnd().split("\n").length - 1, bytes: text.length };
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
await journal.close();
const written = readdirSync(directory)
  .filter((it) => it.endsWith(".journal"))
  .map(journalOf);

const rounded = (value: number) => Math.round(value * 100) / 100;
const measures: readonly { key: keyof Timed; what: string }[] = [
  { key: "wallMs", what: "wall time" },
  { key: "medianPauseMs", what: "from QEMU's `completed` to `cont`, median" },
  { key: "longestPauseMs", what: "from QEMU's `completed` to `cont`, longest" },
  { key: "processorMs", what: "processor time, for each migration" },
];
const rows = measures.map(({ key, what }) => {
  const aloneMs = median(alone.map((it) => it[key]));
  const atOnceMs = median(atOnce.map((it) => it[key]));
  return {
    what,
    aloneMs: rounded(aloneMs),
    atOnceMs: rounded(atOnceMs),
    ratio: rounded(atOnceMs / aloneMs),
  };
});
const perMigration = {
  underWayKiB: Math.round(median(weighed.map((it) => it.underWayKiB))),
  leftKiB: rounded(median(weighed.map((it) => it.leftKiB))),
  leftFiles: median(weighed.map((it) => it.leftFiles)),
  records: median(written.map((it) => it.records)),
  journalBytes: median(written.map((it) => it.bytes)),
};
console.table(rows);
console.table(perMigration);
const raw = { alone, atOnce, weighed };
mkdirSync("bench/results", { recursive: true });
writeFileSync(
  "bench/results/many.json",
  `${JSON.stringify({ rounds, many, rows, perMigration, raw }, null, 2)}\n`,
);
