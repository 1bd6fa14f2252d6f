// Measures, in one run and on the same guest: the downtime against the shortest script, the engine's share of the wall time, the
// start-up of the command, a durable append, recovery after kill -9, and the search. Prints a table and writes
// bench/results/latest.json. `npm run bench [runs]`.

import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openFileJournal } from "../src/drivers/journal/file-journal.js";
import type { Observation } from "../src/effects/trace.js";
import { migrate } from "../src/library/local/migrate.js";
import { launchProofGuest } from "../src/proof-guest/launch.js";
import { search } from "../src/simulator/search.js";
import { crashAndRecover } from "../test/e2e/recovery/crash.js";
import { median } from "./median.js";
import { bareQemu, shortest } from "./shortest.js";

const runs = Number(process.argv[2] ?? 20);
const directory = mkdtempSync(join(tmpdir(), "switchover-bench-"));

/** Long enough for the guest to have touched its whole working set, so that all move the same memory. */
const settled = () => new Promise((resolve) => setTimeout(resolve, 1200));

/** Variants are measured one run at a time, interleaved, so that other load on the machine affects all of them equally. */
interface Measure {
  run(): Promise<void>;
  end(): Promise<void>;
}

async function ours(transport: "unix" | "tcp") {
  const proof = await launchProofGuest();
  let { guest } = proof;
  const pauses: number[] = [];
  const shares: number[] = [];
  const run = async () => {
    await settled();
    const at = new Map<string, number>();
    const observe = (observation: Observation) => {
      if (observation.kind === "state") at.set(`${observation.side} ${observation.state}`, performance.now());
    };
    const startedMs = performance.now();
    const outcome = await migrate({
      guest,
      transport,
      destination: { sideArgs: proof.nextSide("destination") },
      observe,
    }).outcome;
    const wallMs = performance.now() - startedMs;
    if (outcome.guest === null || outcome.downtimeMs === null || outcome.qemuTotalMs === null)
      throw new Error("the guest of the benchmark did not arrive");
    guest = outcome.guest;
    const startMs = (at.get("destination listening") ?? 0) - (at.get("destination preparing") ?? 0);
    pauses.push(outcome.downtimeMs);
    shares.push(wallMs - outcome.qemuTotalMs - startMs);
  };
  const end = async () => {
    const { ok } = await proof.check();
    if (!ok) throw new Error("the continuity check of the benchmark guest failed");
    await guest.end();
    await proof.remove();
  };
  return { run, end, pauses, shares };
}

async function peer(pausing: boolean) {
  const feature = pausing ? { capabilities: ["pause-before-switchover"] } : {};
  const proof = await launchProofGuest();
  const { args } = proof.guest.spec;
  await proof.guest.end();
  const pauses: number[] = [];
  const run = async () => {
    const at = (name: string) => join(directory, `${pauses.length}-${pausing}-${name}`);
    const a = await bareQemu([...args, "-serial", `file:${at("a.serial")}`], at("a.sock"));
    const b = await bareQemu(
      [...args, "-serial", `file:${at("b.serial")}`, "-S", "-incoming", "defer"],
      at("b.sock"),
    );
    await settled();
    pauses.push(await shortest(a.socket, b.socket, `unix:${at("m.sock")}`, feature));
    a.child.kill("SIGKILL");
    b.child.kill("SIGKILL");
  };
  return { run, end: () => proof.remove(), pauses };
}

/** Returns the time from the start of `switchover` to the first command in QEMU's own trace. */
async function startUp() {
  const values: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    const trace = join(directory, `${run}.trace`);
    const wrapper = join(directory, `${run}.sh`);
    writeFileSync(
      wrapper,
      `#!/bin/sh\nexec qemu-system-x86_64 "$@" -D ${trace}.$$ -trace handle_qmp_command -msg timestamp=on\n`,
      { mode: 0o755 },
    );
    const startedMs = Date.now();
    const child = spawn(process.execPath, ["dist/cli/main.js", "migrate", "--json", "--binary", wrapper], {
      stdio: "ignore",
    });
    await new Promise((resolve) => child.once("close", resolve));
    const traces = execFileSync("sh", ["-c", `cat ${trace}.*`]).toString();
    const firstSeconds = Math.min(
      ...[...traces.matchAll(/@(\d+\.\d+):handle_qmp_command/g)].map((match) => Number(match[1])),
    );
    values.push(firstSeconds * 1000 - startedMs);
  }
  return values;
}

/** Appends records sequentially and awaits each. */
async function appends() {
  const journal = await openFileJournal(join(directory, "journal"));
  const values: number[] = [];
  for (let run = 0; run < 20 * runs; run += 1) {
    const startedMs = performance.now();
    await journal.append({
      kind: "aside",
      migrationId: "bench",
      side: "source",
      atMs: Date.now(),
      aside: { type: "refused", event: "operator.aborted", why: "a record of usual length, for the bench" },
    });
    values.push(performance.now() - startedMs);
  }
  await journal.close();
  return values;
}

/** Returns the time from the restart to the outcome; the engine was killed at the handover, or one state before or after. */
async function recoveries() {
  const values: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    const { outcome, recoveryMs } = await crashAndRecover({
      diesAt: 14 + (run % 4),
      when: "durable",
      aborts: false,
    });
    if (outcome === null) throw new Error("the restarted engine found no migration to resume");
    values.push(recoveryMs);
  }
  return values;
}

function searching() {
  const startedMs = performance.now();
  const { states } = search({ faults: 2 });
  return { states, perSecond: Math.round((states * 1000) / (performance.now() - startedMs)) };
}

const searched = searching();
const append = await appends();
const recovery = await recoveries();
const unix = await ours("unix");
const tcp = await ours("tcp");
const bare = await peer(false);
const barePausing = await peer(true);
const measures: readonly Measure[] = [unix, tcp, bare, barePausing];
/** Warm-up runs: the code of a daemon would be warm too. */
const warming = 2;
for (let run = 0; run < runs + warming; run += 1) for (const measure of measures) await measure.run();
for (const measure of measures) await measure.end();
const warm = (values: readonly number[]) => median(values.slice(warming));
const start = await startUp();
rmSync(directory, { recursive: true, force: true });

const rows = [
  { what: "downtime, shortest script, unix", ms: warm(bare.pauses) },
  { what: "downtime, shortest script with pause-before-switchover, unix", ms: warm(barePausing.pauses) },
  { what: "downtime, switchover, unix", ms: warm(unix.pauses) },
  { what: "downtime, switchover, tcp", ms: warm(tcp.pauses) },
  { what: "wall time beyond QEMU's total and the process start", ms: warm(unix.shares) },
  { what: "start of the command to the first monitor command", ms: median(start) },
  { what: "one durable append to the journal", ms: median(append) },
  { what: "recovery after kill -9 around the switchover, from restart to outcome", ms: median(recovery) },
].map((row) => ({ ...row, ms: Math.round(row.ms * 100) / 100 }));
const ratios = {
  "downtime against the shortest script (target 1.25)": warm(unix.pauses) / warm(bare.pauses),
  "downtime against the same script with pause-before-switchover":
    warm(unix.pauses) / warm(barePausing.pauses),
};
console.table(rows);
console.table(
  Object.fromEntries(Object.entries(ratios).map(([name, value]) => [name, Math.round(value * 100) / 100])),
);
console.log(`search, managed, up to 2 faults: ${searched.states} states, ${searched.perSecond} per second`);
const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
mkdirSync("bench/results", { recursive: true });
const raw = { unix, tcp, bare: bare.pauses, barePausing: barePausing.pauses, start, append, recovery };
writeFileSync(
  "bench/results/latest.json",
  `${JSON.stringify({ version, runs, rows, ratios, searched, raw }, null, 2)}\n`,
);
