// Drains of a real fleet under faults as a command: `npm run faults:fleet [runs] [first seed]`, 10 unless told. Each run has 8
// switchoverds, 24 guests and a PostgreSQL of its own. Ends with 1 when something did not hold.

import { messageOf } from "../src/protocol/effect-result.js";
import { drainUnderFaults, harmsOf } from "../test/e2e/fleet/fleet-faults.js";

const [runs = 10, first = 0] = process.argv.slice(2).map(Number);
let broken = 0;
for (let seed = first; seed < first + runs; seed += 1) {
  const told: string[] = [];
  const harms = harmsOf(seed)
    .map((harm) => `${harm.kind} after ${harm.afterMs} ms`)
    .join(", ");
  try {
    const swept = await drainUnderFaults(seed, (what) => told.push(what));
    console.log(
      `${seed}  ${harms}  ->  ${swept.arrived} arrived, ${swept.stayed} stayed, ${swept.killed} killed here, ` +
        `${swept.lives} lives of the orchestrator, at most at once ${JSON.stringify(swept.most)}, ${(swept.tookMs / 1000).toFixed(0)} s`,
    );
    if (process.env["TELL"]) console.log(told.join("\n"));
  } catch (error) {
    broken += 1;
    console.log(`${seed}  ${harms}  ->  BROKEN: ${messageOf(error)}\n${told.join("\n")}`);
  }
}
console.log(
  `${runs - broken} of ${runs} drains: every guest ran once at the end, or its QEMU was killed by the sweep`,
);
process.exitCode = broken === 0 ? 0 : 1;
