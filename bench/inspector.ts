// Measures the cost of the inspector: 50 concurrent migrations in one process with simulated guests, interleaved without an
// inspector, with all observations stored, and with a real browser that shows one of them. Prints a table and writes
// bench/results/inspector.json. `npm run bench:inspector [rounds]`.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { openFileJournal } from "../src/drivers/journal/file-journal.js";
import { version } from "../src/drivers/journal/records.js";
import { lineOf } from "../src/drivers/platform/checked-lines.js";
import { serveInspector } from "../src/inspector/server/serve.js";
import { median } from "./median.js";
import { type Timed, time } from "./simulated-migration.js";

const rounds = Number(process.argv[2] ?? 10);
const many = 50;
const directory = mkdtempSync(join(tmpdir(), "switchover-bench-"));
process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
const journal = await openFileJournal(directory);
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });

async function watched(isLookedAt: boolean): Promise<Timed> {
  const inspector = await serveInspector();
  const page = isLookedAt ? await browser.newPage() : null;
  await page?.goto(inspector.url);
  const timed = await time({ journal, observe: inspector.observe }, many);
  await page?.getByText("runs the guest").first().waitFor();
  await page?.close();
  await inspector.close();
  return timed;
}

const ways: readonly { readonly what: string; readonly run: () => Promise<Timed> }[] = [
  { what: "no inspector", run: () => time({ journal }, many) },
  { what: "all observations stored", run: () => watched(false) },
  { what: "a browser shows one migration", run: () => watched(true) },
];
const timed = ways.map((): Timed[] => []);
// The first run of each is a warm-up.
for (let round = 0; round <= rounds; round += 1)
  for (const [index, { run }] of ways.entries()) timed[index]?.push(await run());
for (const runs of timed) runs.shift();
await journal.close();

/** Measures the time from a move of the slider to the drawn page, in a journal of 100,000 records. */
async function scrubbing() {
  const at = { kind: "state", migrationId: "m", side: "source", because: [], undone: [], learned: {} };
  const records = Array.from({ length: 100_000 }, (_, index) => ({
    ...at,
    atMs: index * 10,
    state: index % 2 === 0 ? "settling.asking" : "settling.waiting",
    event: index % 2 === 0 ? "xstate.after.backoff.source.settling.waiting" : "xstate.done.actor.settle",
  }));
  const text = [{ kind: "journal", version }, ...records].map(lineOf).join("");
  const inspector = await serveInspector({ hub: null, stories: [{ name: "long.journal", text }] });
  const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
  const startedMs = performance.now();
  await page.goto(inspector.url);
  await page.getByText("of 100000").waitFor();
  const openMs = performance.now() - startedMs;
  const frames = await page.evaluate<number[]>(`(async () => {
    const slider = document.querySelector(".scrubber input");
    const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;
    const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    const took = [];
    for (let step = 0; step < 120; step += 1) {
      const startedMs = performance.now();
      set.call(slider, String((step * 7919) % 100000));
      slider.dispatchEvent(new Event("input", { bubbles: true }));
      await frame();
      took.push(performance.now() - startedMs);
    }
    return took;
  })()`);
  await page.close();
  await inspector.close();
  return { openMs, frames: frames.toSorted((a, b) => a - b) };
}
const { openMs, frames } = await scrubbing();
await browser.close();

const rounded = (value: number) => Math.round(value * 100) / 100;
const [baselineMs = 0] = timed.map((all) => median(all.map((item) => item.processorMs)));
const rows = ways.map(({ what }, index) => {
  const all = timed[index] ?? [];
  const processorMs = median(all.map((item) => item.processorMs));
  return {
    what,
    processorMs: rounded(processorMs),
    ratio: rounded(processorMs / baselineMs),
    wallMs: rounded(median(all.map((item) => item.wallMs))),
    maxPauseMs: rounded(median(all.map((item) => item.maxPauseMs))),
  };
});
const scrub = {
  openMs: Math.round(openMs),
  medianFrameMs: rounded(median(frames)),
  slowest95Ms: rounded(frames[Math.floor(frames.length * 0.95)] ?? 0),
};
console.table(rows);
console.table(scrub);
const machine = { cores: cpus().length, load: loadavg().map(rounded) };
mkdirSync("bench/results", { recursive: true });
writeFileSync(
  "bench/results/inspector.json",
  `${JSON.stringify({ rounds, many, rows, scrub, machine, raw: { timed, frames } }, null, 2)}\n`,
);
process.exit(0);
