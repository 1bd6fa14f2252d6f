// Runs the search of the host world: see search.ts. Prints the number of states and the speed, or the shortest trace to a
// violated guarantee.

import { parseArgs } from "node:util";
import type { Explored } from "../src/simulator/explore.js";
import { inARow, searchHosts } from "../src/simulator/hosts/hosts-world.js";
import { brokenWindows } from "../src/simulator/hosts/libvirtd-windows.js";
import { searchBesideLibvirtd } from "../src/simulator/hosts/libvirtd-world.js";

/** Returns the exit code. */
export function searchHostsAsTold(args: readonly string[]): number {
  const number = { type: "string" } as const;
  const { values } = parseArgs({
    args: [...args],
    options: {
      hosts: { ...number, default: "2" },
      migrations: { ...number, default: "2" },
      faults: { ...number, default: "2" },
      peer: { ...number, default: "switchoverd" },
    },
  });
  const [hosts, migrations, faults] = [values.hosts, values.migrations, values.faults].map(Number);
  const isWhole = (count: number | undefined): count is number => Number.isSafeInteger(count);
  if (!isWhole(hosts) || !isWhole(migrations) || !isWhole(faults) || hosts < 2 || hosts > 3) {
    console.error("invalid arguments: --hosts must be 2 or 3, --migrations and --faults must be integers");
    return 2;
  }
  if (values.peer === "libvirtd") return searchLibvirtd(faults);
  if (values.peer !== "switchoverd") {
    console.error("invalid argument: --peer must be switchoverd or libvirtd");
    return 2;
  }
  const title = `${hosts} hosts, consecutive migrations: ${migrations}, up to ${faults} faults`;
  return searched(title, () => searchHosts({ hosts, migrations: inARow(hosts, migrations), faults }));
}

/** Searches one migration to or from a libvirtd; ignores violations in the windows that docs/guarantees.md lists. */
function searchLibvirtd(faults: number): number {
  const sides = [
    { libvirtd: "destination", mode: "peer-to-peer" },
    { libvirtd: "destination", mode: "managed" },
    { libvirtd: "source", mode: "managed" },
  ] as const;
  return Math.max(
    ...sides.map((side) => {
      const { libvirtd, mode } = side;
      const allowed = brokenWindows.filter((window) => window.libvirtd === libvirtd && window.mode === mode);
      const title = `outside of the windows with a libvirtd as the ${libvirtd}, ${mode}, up to ${faults} faults`;
      return searched(title, () => searchBesideLibvirtd({ libvirtd, mode, faults, allowed }));
    }),
  );
}

function searched(title: string, search: () => Explored): number {
  const startedMs = performance.now();
  const startedCpu = process.cpuUsage();
  const found = search();
  const seconds = (performance.now() - startedMs) / 1000;
  const { user, system } = process.cpuUsage(startedCpu);
  const cpuSeconds = (user + system) / 1e6;
  console.log(`${title}: ${found.states} states, ${found.transitions} steps, ${found.ends} ends`);
  console.log(
    `${seconds.toFixed(1)} s, ${Math.round(found.states / seconds)} states per second; ` +
      `${cpuSeconds.toFixed(1)} s of CPU time, ${Math.round(found.states / cpuSeconds)} states per CPU second`,
  );
  if (found.broken === undefined) {
    console.log("no guarantee is violated");
    return 0;
  }
  console.error(`${found.broken.guarantee}\n${found.broken.moves.map(({ name }) => `  ${name}`).join("\n")}`);
  return 1;
}
