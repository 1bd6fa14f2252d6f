// Drains a real fleet under faults: `npm run faults:fleet [runs] [first seed]`, 10 runs by default. Each run has 8
// switchoverds, 24 guests and its own PostgreSQL. Exits with 1 when a guarantee was violated.

import { messageOf } from "../src/protocol/effect-result.js";
import { drainUnderFaults, harmsOf } from "../test/e2e/fleet/fleet-faults.js";

const [runs = 10, first = 0] = process.argv.slice(2).map(Number);
let broken = 0;
for (let seed = first; seed < first + runs; seed += 1) {
  const log: string[] = [];
  const harms = harmsOf(seed)
    .map((harm) => `${harm.kind} after ${harm.afterMs} ms`)
    .join(", ");
  try {
    const swept = await drainUnderFaults(seed, (what) => log.push(what));
    console.log(
      `${seed}  ${harms}  ->  ${swept.arrived} arrived, ${swept.stayed} stayed, ${swept.killed} killed by the sweep, ` +
        `${swept.lives} orchestrator processes, maximum concurrency ${JSON.stringify(swept.most)}, ${(swept.tookMs / 1000).toFixed(0)} s`,
    );
    if (process.env["TELL"]) console.log(log.join("\n"));
  } catch (error) {
    broken += 1;
    console.log(`${seed}  ${harms}  ->  BROKEN: ${messageOf(error)}\n${log.join("\n")}`);
  }
}
console.log(
  `${runs - broken} of ${runs} drains: every guest ran once at the end, or its QEMU was killed by the sweep`,
);
process.exitCode = broken === 0 ? 0 : 1;
