// The search of the host world as a command: see search.ts. Prints states and speed, or the shortest trace to what is broken.

import { parseArgs } from "node:util";
import { inARow, searchHosts } from "../src/testing/hosts/hosts-world.js";

/** Returns the exit code. */
export function searchHostsAsTold(args: readonly string[]): number {
  const number = { type: "string" } as const;
  const { values } = parseArgs({
    args: [...args],
    options: {
      hosts: { ...number, default: "2" },
      migrations: { ...number, default: "2" },
      faults: { ...number, default: "2" },
    },
  });
  const [hosts, migrations, faults] = [values.hosts, values.migrations, values.faults].map(Number);
  const isWhole = (count: number | undefined): count is number => Number.isSafeInteger(count);
  if (!isWhole(hosts) || !isWhole(migrations) || !isWhole(faults) || hosts < 2 || hosts > 3) {
    console.error("give 2 or 3 hosts, a number of migrations and a number of faults");
    return 2;
  }
  const startedMs = performance.now();
  const startedCpu = process.cpuUsage();
  const found = searchHosts({ hosts, migrations: inARow(hosts, migrations), faults });
  const seconds = (performance.now() - startedMs) / 1000;
  const { user, system } = process.cpuUsage(startedCpu);
  const cpuSeconds = (user + system) / 1e6;
  console.log(
    `${hosts} hosts, migrations in a row: ${migrations}, up to ${faults} faults: ` +
      `${found.states} states, ${found.transitions} steps, ${found.ends} ends`,
  );
  console.log(
    `${seconds.toFixed(1)} s, ${Math.round(found.states / seconds)} states per second; ` +
      `${cpuSeconds.toFixed(1)} s of processor time, ${Math.round(found.states / cpuSeconds)} states per second of it`,
  );
  if (found.broken === undefined) {
    console.log("no guarantee is broken");
    return 0;
  }
  console.error(`${found.broken.guarantee}\n${found.broken.moves.map(({ name }) => `  ${name}`).join("\n")}`);
  return 1;
}
