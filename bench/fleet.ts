// Measures drains: migrations per minute of the same guests, interleaved, by the shortest script between bare QEMUs (the limit of
// the machine), by the hosts' daemons alone, and by `switchover drain` with its directory and with DBOS; the cost of an engine
// per migration; and the memory for 20,000 planned guests. Prints tables and writes bench/results/fleet.json.
// `npm run bench:fleet [rounds]`.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../src/drivers/platform/clock.js";
import { openDbosEngine } from "../src/fleet/dbos-runner.js";
import { Drain, type DrainRequest, type Move, type Wanted } from "../src/fleet/drain.js";
import { openFileEngine } from "../src/fleet/file-engine.js";
import { fleetNow } from "../src/fleet/fleet-file.js";
import { RpcMover } from "../src/fleet/rpc-mover.js";
import { conduct, type Mover } from "../src/fleet/run-drain.js";
import { buildFirmware, proofGuestOptions } from "../src/proof-guest/firmware.js";
import { idWithToken } from "../src/protocol/fencing-token.js";
import { Postgres } from "../test/support/postgres.js";
import { RealFleet } from "../test/support/real-fleet.js";
import { fleetOf } from "../test/support/simulated-fleet.js";
import { median } from "./median.js";
import { bareQemu, shortest } from "./shortest.js";

const rounds = Number(process.argv[2] ?? 5);
const guests = 12;
const limits = { perSource: 2, perDestination: 2, perLink: 100, total: 4 };
const wish = { workingSetMiB: 2, dirtyMiBps: 1 };
const memoryKiB = 65_544;
const halves = { a: ["h0", "h1"], b: ["h2", "h3"] } as const;
const directory = mkdtempSync(join(tmpdir(), "switchover-bench-"));
const rounded = (value: number) => Math.round(value * 100) / 100;

const fleet = new RealFleet(
  [...halves.a, ...halves.b],
  Array.from({ length: guests }, (_, index) => halves.a[index % 2] ?? ""),
  { wish, program: ["dist/cli/daemon.js"] },
);
const postgres = new Postgres();
let token = Date.now();
const random = () => Array.from({ length: 18 }, () => Math.floor(Math.random() * 16).toString(16)).join("");

/** Processes all of the work with `atOnce` workers. */
async function inTurn<T>(work: readonly T[], atOnce: number, each: (job: T) => Promise<void>): Promise<void> {
  const rest = [...work];
  const worker = async () => {
    for (let next = rest.shift(); next !== undefined; next = rest.shift()) await each(next);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

/** Returns the time in ms. The fleet's guests keep waiting, so that the machine runs the same number of guests in each case. */
async function byScript(): Promise<number> {
  const firmware = join(directory, "firmware");
  writeFileSync(firmware, buildFirmware(proofGuestOptions({ memoryKiB, ...wish })));
  const args = (name: string) => [
    "-machine",
    "pc,accel=tcg",
    "-nodefaults",
    "-display",
    "none",
    "-m",
    `${memoryKiB}K`,
    "-bios",
    firmware,
    "-serial",
    `file:${join(directory, `${name}.serial`)}`,
  ];
  const names = Array.from({ length: guests }, (_, index) => `bare${index}`);
  const sources = new Map<string, Awaited<ReturnType<typeof bareQemu>>>();
  for (const name of names) sources.set(name, await bareQemu(args(name), join(directory, `${name}.qmp`)));
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  const ended: (() => void)[] = [];
  const startedMs = performance.now();
  await inTurn(names, limits.total, async (name) => {
    const source = sources.get(name);
    if (source === undefined) return;
    const there = await bareQemu(
      [...args(`${name}there`), "-S", "-incoming", "defer"],
      join(directory, `${name}there.qmp`),
    );
    await shortest(source.socket, there.socket, `unix:${join(directory, `${name}.stream`)}`);
    source.child.kill("SIGKILL");
    await once(source.child, "close");
    ended.push(() => there.child.kill("SIGKILL"));
  });
  const tookMs = performance.now() - startedMs;
  for (const end of ended) end();
  for (const { child } of sources.values()) child.kill("SIGKILL");
  return tookMs;
}

type Half = keyof typeof halves;
const begunFrom = async (half: Half) => {
  const drainRequest: DrainRequest = { sources: halves[half], limits, attempts: 3, deadlineMs: null };
  return {
    kind: "begun" as const,
    atMs: Date.now(),
    wish: drainRequest,
    fleet: await fleetNow(fleet.file, systemClock),
  };
};

/** Sends the requests of a drain to the daemons, in the same order and within the same limits, without an orchestrator process. */
async function byDaemons(half: Half): Promise<number> {
  const drain = new Drain(await begunFrom(half));
  const uris = new Map(fleet.file.hosts.map((host) => [host.name, host.uri]));
  const mover = new RpcMover({ clock: systemClock, uris });
  const { signal } = new AbortController();
  const startedMs = performance.now();
  await new Promise<void>((resolve, reject) => {
    const next = () => {
      for (const wanted of drain.wanted(Date.now())) void move(wanted).catch(reject);
      if (drain.underWay.length === 0) resolve();
    };
    const move = async (wanted: Wanted) => {
      token = Math.max(token + 1, Date.now());
      const named: Move = { ...wanted, token, migrationId: idWithToken(token, random()) };
      drain.apply({ kind: "planned", atMs: 0, move: named });
      const { end, why } = await mover.move(named, signal);
      if (end !== "arrived") throw new Error(`a migration of the benchmark ended with ${end}: ${why}`);
      drain.apply({ kind: "ended", atMs: 0, token: named.token, end, why });
      next();
    };
    next();
  });
  const tookMs = performance.now() - startedMs;
  await mover.close();
  return tookMs;
}

/** Returns the time from the first plan to the last end, from the drain's own events. */
async function byDrain(half: Half, engine: readonly string[]): Promise<number> {
  const path = join(directory, "fleet.json");
  writeFileSync(path, JSON.stringify(fleet.file));
  const numbers = ["--per-source", "2", "--per-destination", "2", "--per-link", "100", "--total", "4"];
  const words = ["drain", ...halves[half], "--fleet", path, ...engine, "--json", ...numbers];
  const child = spawn(process.execPath, ["dist/cli/main.js", ...words], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (text) => {
    output += text;
  });
  const [code] = (await once(child, "close")) as [number];
  if (code !== 0) throw new Error(`the drain exited with ${code}: ${output}`);
  const times = (kind: string) =>
    [...output.matchAll(new RegExp(`"kind":"${kind}","atMs":(\\d+)`, "g"))].map((match) => Number(match[1]));
  return Math.max(...times("ended")) - Math.min(...times("planned"));
}

/** Returns the time in ms to record one migration (its plan and its end) of a guest that arrives immediately. */
async function engineAlone(open: () => ReturnType<typeof openFileEngine>, moved: number): Promise<number> {
  const simulated = fleetOf(100, moved * 2);
  const mover: Mover = { move: async () => ({ end: "arrived", why: "" }), abort: async () => {} };
  const sources = simulated.hosts.slice(0, 50).map((host) => host.name);
  const big = { perSource: 10, perDestination: 10, perLink: 1_000, total: 50 };
  const engine = await open();
  const startedMs = performance.now();
  const stories = await engine.run(
    (opened) =>
      conduct({
        engine: opened,
        mover,
        clock: systemClock,
        random,
        begun: async () => ({
          kind: "begun",
          atMs: 0,
          fleet: simulated,
          wish: { sources, limits: big, attempts: 3, deadlineMs: null },
        }),
      }).ended,
  );
  const tookMs = performance.now() - startedMs;
  await engine.close();
  return tookMs / stories.length;
}

/** Returns the memory in MiB of a drain with 20,000 planned guests, and of the fleet itself. */
function plannedMemory(): { readonly drainMiB: number; readonly fleetMiB: number } {
  const heap = () => {
    if (globalThis.gc === undefined) throw new Error("run node with --expose-gc");
    globalThis.gc();
    return process.memoryUsage().heapUsed / 2 ** 20;
  };
  const before = heap();
  const all = fleetOf(1_000, 40_000);
  const withFleet = heap();
  const sources = all.hosts.slice(0, 500).map((host) => host.name);
  const many = { perSource: 1_000, perDestination: 1_000, perLink: 1e6, total: 1e6 };
  const drain = new Drain({
    kind: "begun",
    atMs: 0,
    fleet: all,
    wish: { sources, limits: many, attempts: 3, deadlineMs: null },
  });
  for (const wanted of drain.wanted(0, (_, [first]) => first?.host.name ?? null)) {
    token += 1;
    drain.apply({
      kind: "planned",
      atMs: 0,
      move: { ...wanted, token, migrationId: idWithToken(token, random()) },
    });
  }
  const planned = drain.underWay.length;
  const withDrain = heap();
  if (planned < 19_000) throw new Error(`only ${planned} guests were planned`);
  return { drainMiB: withDrain - withFleet, fleetMiB: withFleet - before };
}

const what = {
  script: "shortest script between bare QEMUs",
  daemons: "the daemons alone",
  directory: "switchover drain, on its directory",
  dbos: "switchover drain, on DBOS",
} as const;
const measured = { script: [], daemons: [], directory: [], dbos: [] } as Record<keyof typeof what, number[]>;
const load = [rounded(loadavg()[0] ?? 0)];
try {
  await Promise.all([fleet.begin(), postgres.start()]);
  let half: Half = "a";
  const there = (): Half => {
    const from = half;
    half = half === "a" ? "b" : "a";
    return from;
  };
  // The first round is a warm-up.
  for (let round = 0; round <= rounds; round += 1) {
    const times = {
      script: await byScript(),
      daemons: await byDaemons(there()),
      directory: await byDrain(there(), ["--log", join(directory, "drains")]),
      dbos: await byDrain(there(), ["--engine", postgres.url]),
    };
    // Moves the guests back, so that each round begins in the same state.
    await byDaemons(there());
    for (const key of Object.keys(times) as (keyof typeof times)[])
      if (round > 0) measured[key].push(times[key]);
  }
  await fleet.check();
  await fleet.end();
  load.push(rounded(loadavg()[0] ?? 0));
  const rows = (Object.keys(what) as (keyof typeof what)[]).map((key) => {
    const ms = median(measured[key]);
    return {
      what: what[key],
      perMinute: Math.round((guests * 60_000) / ms),
      ratio: rounded(median(measured.script) / ms),
      msEach: Math.round(ms / guests),
    };
  });
  const engines = {
    directoryMs: rounded(await engineAlone(() => openFileEngine(join(directory, "alone"), "alone"), 2_000)),
    dbosMs: rounded(await engineAlone(() => openDbosEngine(postgres.url, "alone"), 500)),
  };
  const memory = plannedMemory();
  console.table(rows);
  console.table(engines);
  console.table(memory);
  const machine = { cores: cpus().length, model: cpus()[0]?.model ?? "", load };
  mkdirSync("bench/results", { recursive: true });
  writeFileSync(
    "bench/results/fleet.json",
    `${JSON.stringify({ machine, rounds, guests, rows, engines, memory: { drainMiB: Math.round(memory.drainMiB), fleetMiB: Math.round(memory.fleetMiB) }, raw: measured }, null, 2)}\n`,
  );
} finally {
  await postgres.remove();
  await fleet.end();
  rmSync(directory, { recursive: true, force: true });
}
