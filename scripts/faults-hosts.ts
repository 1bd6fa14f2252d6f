// Injects faults between two hosts: `npm run faults:hosts -- --from 1 --runs 50 --word damaged`. Each seed selects a fault
// and its moment, so that a range of seeds can be repeated and a stopped sweep can be continued. Prints each run and the
// totals, and appends each run to a file; exits with 1 when a guarantee was violated.

import { appendFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { messageOf } from "../src/protocol/effect-result.js";
import { BrokenGuarantee } from "../test/support/host-operator.js";
import { sweepFaults } from "../test/support/host-sweep.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    from: { type: "string", default: "0" },
    runs: { type: "string" },
    word: { type: "string" },
    results: { type: "string", default: "faults-hosts.jsonl" },
  },
});
const from = Number(values.from);
const runs = Number(values.runs ?? positionals[0] ?? 50);
const word = values.word ?? positionals[1] ?? "";
const wanted = sweepFaults.filter(({ name }) => name.includes(word));
if (wanted.length === 0) {
  const names = sweepFaults.map(({ name }) => name).join("\n");
  console.error(`no fault name contains "${word}"; the faults are:\n${names}`);
  process.exit(2);
}

const sums = new Map<string, number>();
const count = (kind: string) => sums.set(kind, (sums.get(kind) ?? 0) + 1);
const brokenKind = (error: unknown): string =>
  error instanceof BrokenGuarantee ? error.kind : error instanceof Error ? brokenKind(error.cause) : "broken";
let broken = 0;
for (let seed = from; seed < from + runs; seed += 1) {
  const fault = wanted[seed % wanted.length];
  if (fault === undefined) throw new Error("the list of faults is empty");
  const ms = fault.momentOf(seed);
  const { kind, what } = await fault.run(seed, ms).catch((error: unknown) => {
    broken += 1;
    return { kind: brokenKind(error), what: messageOf(error) };
  });
  count(kind);
  console.log(`${seed}  ${fault.name}, after ${ms} ms  ->  ${kind}: ${what}`);
  const result = { seed, word, fault: fault.name, ms, kind, what };
  appendFileSync(values.results, `${JSON.stringify(result)}\n`);
}
const figures = [...sums].map(([kind, times]) => `${kind} ${times}`).join(", ");
console.log(
  `seeds ${from} to ${from + runs - 1}${word === "" ? "" : ` of faults named "${word}"`}: ${runs} runs; ${figures}`,
);
process.exitCode = broken === 0 ? 0 : 1;
