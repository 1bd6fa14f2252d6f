// Runs the fault sweep on real QEMU: `npm run faults [runs]`, 300 runs by default. Prints the table, saves every run in
// faults.json, and exits with 1 when a guest was stuck or ran twice.

import { writeFileSync } from "node:fs";
import { caseOf, describeCase } from "../test/e2e/faults/cases.js";
import { Sweeper, type SweepResult, type Verdict } from "../test/e2e/faults/sweep.js";

const runs = Number(process.argv[2] ?? 300);
const first = Number(process.argv[3] ?? 0);
const sweeper = new Sweeper();
const results: (SweepResult & { seed: number; faults: string })[] = [];
for (let seed = first; seed < first + runs; seed += 1) {
  const faults = caseOf(seed).map(describeCase).join(" + ");
  const result = await sweeper.run(caseOf(seed));
  results.push({ seed, faults, ...result });
  const bad = result.verdict === "stuck" || result.verdict === "two";
  console.log(
    `${seed}  ${result.met ? "" : "(not met) "}${faults}  ->  ${result.outcome}, ${result.verdict}`,
  );
  if (bad) console.log(`      ${result.why}`);
}
await sweeper.end();
const verdicts: readonly Verdict[] = [
  "one running",
  "none but settled later",
  "lost with its QEMU",
  "stuck",
  "two",
];
const count = (verdict: Verdict) => results.filter((result) => result.verdict === verdict).length;
console.table(Object.fromEntries(verdicts.map((verdict) => [verdict, count(verdict)])));
console.log(`${results.filter((result) => !result.met).length} of ${runs} runs did not reach their fault`);
writeFileSync("faults.json", `${JSON.stringify(results, null, 1)}\n`);
process.exitCode = count("stuck") + count("two") === 0 ? 0 : 1;
