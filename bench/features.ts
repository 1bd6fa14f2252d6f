// Measures the cost of each feature against QEMU driven by the shortest script with the same feature, interleaved on one machine:
// the downtime, the disk mirror, the transfer of memory over several connections. Prints the figures and writes
// bench/results/features.json. `npm run bench:features [runs]`.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { measureConnections } from "./feature-connections.js";
import { measureCopies } from "./feature-copies.js";
import { measurePauses } from "./feature-pauses.js";

const runs = Number(process.argv[2] ?? 9);
const fewRuns = 5;
const directory = mkdtempSync(join(tmpdir(), "bench-"));
const load = () => loadavg()[0] ?? Number.NaN;
const rounded = (value: number) => Math.round(value * 100) / 100;

const before = load();
const pauses = await measurePauses(directory, runs);
const copies = await measureCopies(directory, fewRuns);
const connections = await measureConnections(fewRuns);
rmSync(directory, { recursive: true, force: true });

const machine = { cores: cpus().length, model: cpus()[0]?.model.trim() ?? "", load: [before, load()] };
const measured = {
  machine,
  runs,
  pauses: pauses.map(({ raw, ...row }) => ({ ...row, ratio: row.oursMs / row.scriptMs, raw })),
  fewRuns,
  copies: { ...copies, ratio: copies.oursMs / copies.convertMs },
  connections,
};
const text = JSON.stringify(measured, (_, json) => (typeof json === "number" ? rounded(json) : json), 2);
mkdirSync("bench/results", { recursive: true });
writeFileSync("bench/results/features.json", `${text}\n`);
console.log(text);
console.log("bench/results/features.json is written; `npm run docs` prints its tables.");
