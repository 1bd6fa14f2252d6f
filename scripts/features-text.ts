// Prints the results of bench/features.ts as Markdown for docs/performance.md.

import * as z from "zod/mini";
import { table } from "./table.js";

const measured = z.object({
  machine: z.object({ cores: z.number(), model: z.string(), load: z.array(z.number()) }),
  runs: z.number(),
  pauses: z.array(
    z.object({ what: z.string(), oursMs: z.number(), scriptMs: z.number(), ratio: z.number() }),
  ),
  fewRuns: z.number(),
  copies: z.object({ diskMiB: z.number(), oursMs: z.number(), convertMs: z.number(), ratio: z.number() }),
  connections: z.object({
    memoryMiB: z.number(),
    rows: z.array(
      z.object({
        connections: z.nullable(z.number()),
        unixMs: z.number(),
        tcpMs: z.number(),
        unixRatio: z.number(),
        tcpRatio: z.number(),
      }),
    ),
  }),
});

/** Returns the Markdown for the text of bench/results/features.json. */
export function featuresText(json: string): string {
  const { machine, runs, pauses, fewRuns, copies, connections } = measured.parse(JSON.parse(json));
  const mibPerSecond = (ms: number) => Math.round((copies.diskMiB * 1000) / ms);
  return `The same downtime with each stream option, over a unix socket, \`npm run bench:features\`, ${runs} interleaved runs, medians, ${machine.cores} cores (${machine.model}), load ${machine.load.join(" to ")}: only ratios within one run are comparable ([all numbers](../bench/results/features.json)):

${table(
  ["feature", "shortest QMP script with it, ms", "switchover, ms", "ratio"],
  pauses.map(({ what, scriptMs, oursMs, ratio }) => [what, scriptMs, oursMs, ratio]),
)}

A disk of ${copies.diskMiB} MiB is mirrored at ${mibPerSecond(copies.oursMs)} MiB/s, against ${mibPerSecond(copies.convertMs)} MiB/s of \`qemu-img convert\` over NBD into the same kind of QEMU: ${copies.ratio} of its time, ${fewRuns} interleaved runs.

The time to transfer ${connections.memoryMiB} MiB of memory that does not change, ${fewRuns} interleaved runs, and its ratio to a single plain connection:

${table(
  ["multifd channels", "unix, ms", "ratio", "tcp, ms", "ratio"],
  connections.rows.map((row) => [
    row.connections === null ? "none (plain)" : row.connections,
    row.unixMs,
    row.unixRatio,
    row.tcpMs,
    row.tcpRatio,
  ]),
)}`;
}
