// Checks G1, G2, G3 and G5 in every order of everything that can happen on two hosts around migrations in a row: local
// requests, restarts with and without memory, mute and dead QEMUs, full disks; and that the search finds what is broken on purpose.

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import type { Explored } from "../../src/testing/explore.js";
import type { HostSearch } from "../../src/testing/hosts/hosts-world.js";
import { breakages } from "./host-breakages.js";

const there = { from: 0, to: 1 };
const back = { from: 1, to: 0 };

async function searchInThread(search: HostSearch, breakage?: string): Promise<Explored> {
  const worker = new Worker(new URL("./hosts-worker.mjs", import.meta.url), {
    workerData: { ...search, breakage },
  });
  const [found] = (await once(worker, "message")) as [Explored];
  await worker.terminate();
  return found;
}

const told = ({ broken }: Explored): string =>
  broken === undefined ? "" : `${broken.guarantee}\n${broken.moves.map(({ name }) => name).join("\n")}`;

test.each([
  { name: "one migration and 1 fault", migrations: [there], faults: 1 },
  { name: "one migration and 2 faults", migrations: [there], faults: 2 },
  { name: "two migrations in a row and 1 fault", migrations: [there, back], faults: 1 },
])(
  "every order of everything on two hosts with $name keeps the guarantees, and can still end well",
  async ({ name, migrations, faults }) => {
    const startedMs = performance.now();
    const found = await searchInThread({ hosts: 2, migrations, faults });
    const seconds = (performance.now() - startedMs) / 1000;
    console.log(
      `two hosts, ${name}: ${found.states} states, ${found.transitions} steps, ${found.ends} ends, ` +
        `${seconds.toFixed(0)} s, ${Math.round(found.states / seconds)} states/s`,
    );
    expect(told(found)).toBe("");
    expect(found.whole).toBe(true);
    expect(found.ends).toBeGreaterThan(10);
  },
  600_000,
);

test.each(Object.keys(breakages))(
  "the search of two hosts finds it: %s",
  async (breakage) => {
    const found = await searchInThread({ hosts: 2, migrations: [there], faults: 1 }, breakage);
    expect(told(found)).toMatch(/^G[1235]/);
  },
  600_000,
);
