// Prints the tables of docs/performance.md and the figures of the README from the benchmark results.

import { readFileSync } from "node:fs";
import * as z from "zod/mini";
import { featuresText } from "./features-text.js";
import { fleetText } from "./fleet-text.js";
import { table } from "./table.js";

const bench = z.object({
  runs: z.number(),
  rows: z.array(z.object({ what: z.string(), ms: z.number() })),
  searched: z.object({ states: z.number(), perSecond: z.number() }),
});

const benchOfHosts = z.object({
  runs: z.number(),
  rows: z.array(z.object({ what: z.string(), downtimeMs: z.number(), overheadMs: z.number() })),
});

const benchOfMany = z.object({
  rounds: z.number(),
  many: z.number(),
  rows: z.array(z.object({ what: z.string(), aloneMs: z.number(), atOnceMs: z.number(), ratio: z.number() })),
  perMigration: z.object({
    underWayKiB: z.number(),
    leftKiB: z.number(),
    leftFiles: z.number(),
    records: z.number(),
    journalBytes: z.number(),
  }),
});

const benchOfInspector = z.object({
  rounds: z.number(),
  many: z.number(),
  rows: z.array(
    z.object({ what: z.string(), processorMs: z.number(), ratio: z.number(), maxPauseMs: z.number() }),
  ),
  scrub: z.object({ openMs: z.number(), medianFrameMs: z.number(), slowest95Ms: z.number() }),
});

const readResult = (name: string): unknown => JSON.parse(readFileSync(`bench/results/${name}.json`, "utf8"));

/** Returns the section on the cost of an attached inspector. */
function inspectorText(): string {
  const { rounds, many, rows, scrub } = benchOfInspector.parse(readResult("inspector"));
  return `The same ${many} at once, observed by the inspector, \`npm run bench:inspector\`, ${rounds} interleaved rounds, medians ([all numbers](../bench/results/inspector.json)):

${table(
  ["", "CPU time per migration, ms", "ratio", "longest time from `completed` to `cont`, ms"],
  rows.map(({ what, processorMs, ratio, maxPauseMs }) => [what, processorMs, ratio, maxPauseMs]),
)}

The page opens a journal of 100,000 records in ${scrub.openMs} ms; after a move of its slider it draws that moment in ${scrub.medianFrameMs} ms (95th percentile: ${scrub.slowest95Ms} ms).

${fleetText(readFileSync("bench/results/fleet.json", "utf8"))}`;
}

function measured(): string {
  const hosts = benchOfHosts.parse(readResult("hosts"));
  const { runs, rows, searched } = bench.parse(readResult("latest"));
  const { rounds, many, perMigration, ...ofMany } = benchOfMany.parse(readResult("many"));
  return `\`npm run bench\`, ${runs} runs, medians, two cores, TCG ([all numbers](../bench/results/latest.json)):

${table(
  ["", "ms"],
  rows.map(({ what, ms }) => [what, ms]),
)}

The search explores ${searched.perSecond} states a second (${searched.states} with up to two faults, managed).

${featuresText(readFileSync("bench/results/features.json", "utf8"))}

Between two hosts on this machine, \`npm run bench:hosts\`, ${hosts.runs} interleaved runs, medians ([all numbers](../bench/results/hosts.json)); the overhead is the wall time of the command minus QEMU's own migration time:

${table(
  ["", "downtime, ms", "overhead, ms"],
  hosts.rows.map(({ what, downtimeMs, overheadMs }) => [what, downtimeMs, overheadMs]),
)}

${many} migrations started at the same moment in one process, with the journal on disk and simulated guests (500 ms of pre-copy, 5 ms of switchover), \`npm run bench:many\`, ${rounds} rounds, medians ([all numbers](../bench/results/many.json)):

${table(
  ["", "1 alone, ms", `${many} at once, ms`, "ratio"],
  ofMany.rows.map(({ what, aloneMs, atOnceMs, ratio }) => [what, aloneMs, atOnceMs, ratio]),
)}

A migration uses ${perMigration.underWayKiB} KiB of heap while it is in progress; ${perMigration.leftKiB} KiB and ${perMigration.leftFiles} open files remain afterwards. Its journal has ${perMigration.records} records in ${perMigration.journalBytes} bytes.

${inspectorText()}`;
}

/** Returns the page with its tables replaced by those of the latest results. */
export const performancePage = (text: string): string =>
  text.replace(
    /(<!-- bench -->\n)[\s\S]*?(<!-- \/bench -->)/,
    (_, before: string, after: string) => `${before}${measured()}\n${after}`,
  );

/** Returns the few figures that the README shows. */
export function figures(): string {
  const { rows } = bench.parse(readResult("latest"));
  const hosts = benchOfHosts.parse(readResult("hosts"));
  const msOf = (what: string) => rows.find((row) => row.what === what)?.ms ?? "not measured";
  const host = (what: string) => hosts.rows.find((row) => row.what === what);
  return table(
    ["", "switchover", "compared with"],
    [
      [
        "downtime on one machine, ms",
        msOf("downtime, switchover, unix"),
        `${msOf("downtime, shortest script, unix")} (shortest QMP script)`,
      ],
      [
        "downtime between two hosts, ms",
        host("switchoverd, virsh")?.downtimeMs ?? "",
        `${host("libvirtd, virsh")?.downtimeMs} (libvirtd)`,
      ],
      [
        "wall time beyond QEMU's own migration time, between two hosts, ms",
        host("switchoverd, virsh")?.overheadMs ?? "",
        `${host("libvirtd, virsh")?.overheadMs} (libvirtd)`,
      ],
      [
        "recovery after `kill -9` around the switchover, ms",
        msOf("recovery after kill -9 around the switchover, from restart to outcome"),
        "",
      ],
    ],
  );
}
