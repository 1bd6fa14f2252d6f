// The exhaustive search as a command: `npm run search [faults]`, 3 unless told. Prints what was looked at, or the
// shortest story that breaks a guarantee, and ends with 1 then.

import { BrokenGuarantee, search } from "../src/testing/index.js";

const faults = Number(process.argv[2] ?? 3);
if (!Number.isInteger(faults) || faults < 0) {
  console.error(`"${process.argv[2]}" is no number of faults: give 0, 1, 2, 3, …`);
  process.exit(2);
}
const startedMs = performance.now();
try {
  const { states, transitions, ends } = search({ faults });
  const seconds = (performance.now() - startedMs) / 1000;
  console.log(
    `up to ${faults} faults: ${states} states, ${transitions} steps, ${ends} ends; no guarantee is broken`,
  );
  console.log(`${seconds.toFixed(1)} s, ${Math.round(states / seconds)} states per second`);
} catch (error) {
  if (!(error instanceof BrokenGuarantee)) throw error;
  console.error(error.message);
  process.exit(1);
}
