// Prints the results of bench/fleet.ts as Markdown for docs/performance.md.

import * as z from "zod/mini";
import { table } from "./table.js";

const measured = z.object({
  machine: z.object({ load: z.array(z.number()) }),
  rounds: z.number(),
  guests: z.number(),
  rows: z.array(z.object({ what: z.string(), perMinute: z.number(), ratio: z.number(), msEach: z.number() })),
  engines: z.object({ directoryMs: z.number(), dbosMs: z.number() }),
  memory: z.object({ drainMiB: z.number(), fleetMiB: z.number() }),
});

/** Returns the Markdown for the text of bench/results/fleet.json. */
export function fleetText(json: string): string {
  const { machine, rounds, guests, rows, engines, memory } = measured.parse(JSON.parse(json));
  return `Draining ${guests} guests, four at once, \`npm run bench:fleet\`, ${rounds} interleaved rounds, medians, load ${machine.load.join(" to ")} ([all numbers](../bench/results/fleet.json)):

${table(
  ["", "migrations per minute", "share of the machine's limit", "ms each"],
  rows.map(({ what, perMinute, ratio, msEach }) => [what, perMinute, ratio, msEach]),
)}

Recording one migration (its plan and its end) takes ${engines.directoryMs} ms in the directory and ${engines.dbosMs} ms on DBOS. A drain of 20,000 planned guests uses ${memory.drainMiB} MiB of memory; its fleet of 1,000 hosts and 40,000 guests uses ${memory.fleetMiB} MiB.`;
}
