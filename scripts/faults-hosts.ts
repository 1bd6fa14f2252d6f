// Faults between two hosts as a command: `npm run faults:hosts [runs] [word]`, 50 unless told, of those that have the word in
// their name. Prints each run and where the guest runs in the end; ends with 1 when one copy did not run on.

import { messageOf } from "../src/protocol/answer.js";
import { hostFaults, migrationWith, momentOf, nameOf } from "../test/daemon/host-faults.js";

const runs = Number(process.argv[2] ?? 50);
const word = process.argv[3] ?? "";
const wanted = hostFaults.filter((it) => nameOf(it).includes(word));
if (wanted.length === 0) {
  console.error(`no fault has "${word}" in its name; there are:\n${hostFaults.map(nameOf).join("\n")}`);
  process.exit(2);
}
let broken = 0;
for (let seed = 0; seed < runs; seed += 1) {
  const fault = wanted[seed % wanted.length];
  if (fault === undefined) throw new Error("there is no such fault");
  const ms = momentOf(fault, seed);
  try {
    console.log(`${seed}  ${nameOf(fault)}, after ${ms} ms  ->  runs at ${await migrationWith(fault, ms)}`);
  } catch (error) {
    broken += 1;
    console.log(`${seed}  ${nameOf(fault)}, after ${ms} ms  ->  BROKEN: ${messageOf(error)}`);
  }
}
console.log(`${runs - broken} of ${runs} ended with one running copy that had counted on`);
process.exitCode = broken === 0 ? 0 : 1;
