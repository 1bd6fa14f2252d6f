// Measures 50 concurrent migrations in one process against a single one, interleaved, with simulated guests: the machines, the
// coordinator and the journal on disk are the real ones. Prints a table and writes bench/results/many.json.
// `npm run bench:many [rounds]`.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { openFileJournal } from "../src/drivers/journal/file-journal.js";
import { median } from "./median.js";
import { allArrived, beginMany, type Timed, time } from "./simulated-migration.js";

const rounds = Number(process.argv[2] ?? 20);
const many = 50;
const directory = mkdtempSync(join(tmpdir(), "switchover-bench-"));
process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
const journal = await openFileJournal(directory);

function heapBytes(): number {
  if (globalThis.gc === undefined) throw new Error("run node with --expose-gc");
  globalThis.gc();
  return process.memoryUsage().heapUsed;
}

/** Returns the heap size while no migration is in progress. */
async function held() {
  await sleep(100);
  return { bytes: heapBytes(), files: readdirSync("/proc/self/fd").length };
}

/** Runs separately: the garbage collections would distort the times of the other runs. */
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

/** A separate function, so that no local variable keeps the migrations alive afterwards. */
async function heapUnderWay(): Promise<number> {
  const migrations = beginMany({ journal }, many, 20);
  await sleep(1_000);
  if (migrations.some((migration) => !migration.snapshot().source.startsWith("precopying")))
    throw new Error("not all migrations of the benchmark are in progress");
  const bytes = heapBytes();
  await allArrived(migrations);
  return bytes;
}

/** Returns the size of the journal of one migration. */
function journalOf(name: string) {
  const text = readFileSync(join(directory, name));
  // The first line is the header of the file.
  return { records: text.toString().trimEnd().split("\n").length - 1, bytes: text.length };
}

const alone: Timed[] = [];
const atOnce: Timed[] = [];
const weighed: Awaited<ReturnType<typeof weigh>>[] = [];
// The first run of each is a warm-up.
for (let round = 0; round <= rounds; round += 1) {
  alone.push(await time({ journal }, 1));
  atOnce.push(await time({ journal }, many));
  weighed.push(await weigh());
}
for (const runs of [alone, atOnce, weighed]) runs.shift();
await journal.close();
const written = readdirSync(directory)
  .filter((file) => file.endsWith(".journal"))
  .map(journalOf);

const rounded = (value: number) => Math.round(value * 100) / 100;
const measures: readonly { key: keyof Timed; what: string }[] = [
  { key: "wallMs", what: "wall time" },
  { key: "medianPauseMs", what: "from QEMU's `completed` to `cont`, median" },
  { key: "maxPauseMs", what: "from QEMU's `completed` to `cont`, longest" },
  { key: "processorMs", what: "CPU time per migration" },
];
const rows = measures.map(({ key, what }) => {
  const aloneMs = median(alone.map((timed) => timed[key]));
  const atOnceMs = median(atOnce.map((timed) => timed[key]));
  return {
    what,
    aloneMs: rounded(aloneMs),
    atOnceMs: rounded(atOnceMs),
    ratio: rounded(atOnceMs / aloneMs),
  };
});
const perMigration = {
  underWayKiB: Math.round(median(weighed.map((weight) => weight.underWayKiB))),
  leftKiB: rounded(median(weighed.map((weight) => weight.leftKiB))),
  leftFiles: median(weighed.map((weight) => weight.leftFiles)),
  records: median(written.map((item) => item.records)),
  journalBytes: median(written.map((item) => item.bytes)),
};
console.table(rows);
console.table(perMigration);
const raw = { alone, atOnce, weighed };
mkdirSync("bench/results", { recursive: true });
writeFileSync(
  "bench/results/many.json",
  `${JSON.stringify({ rounds, many, rows, perMigration, raw }, null, 2)}\n`,
);
