// Checks G1, G2, G3 and G5 in every order of events on two hosts around successive migrations: local requests, restarts with and
// without memory, mute and dead QEMUs, full disks; and that the search finds deliberate breakages.

import { expect, test } from "vitest";
import type { Explored } from "../../src/simulator/explore.js";
import { breakages } from "./host-breakages.js";
import type { HostsTask } from "./hosts-worker.js";
import { inThread } from "./in-thread.js";

const searchInThread = (task: HostsTask): Promise<Explored> => inThread("hosts-worker", task);

const told = ({ broken }: Explored): string =>
  broken === undefined ? "" : `${broken.guarantee}\n${broken.moves.map(({ name }) => name).join("\n")}`;

test.each([
  { hosts: 2, migrations: 2, faults: 2 },
  { hosts: 3, migrations: 2, faults: 1 },
])(
  "every order of events on $hosts hosts with $migrations successive migrations and $faults faults keeps the guarantees and can still end well",
  async (search) => {
    const startedMs = performance.now();
    const found = await searchInThread(search);
    const seconds = (performance.now() - startedMs) / 1000;
    console.log(
      `${search.hosts} hosts, ${search.migrations} migrations in a row, ${search.faults} faults: ` +
        `${found.states} states, ${found.transitions} steps, ${found.ends} ends, ` +
        `${seconds.toFixed(0)} s, ${Math.round(found.states / seconds)} states/s`,
    );
    expect(told(found)).toBe("");
    expect(found.whole).toBe(true);
    expect(found.ends).toBeGreaterThan(10);
  },
);

/** The guarantee that is broken, and by how many moves. */
const verdict = ({ broken }: Explored) => ({ guarantee: broken?.guarantee, moves: broken?.moves.length });

test.each(Object.entries(breakages))(
  "the search of two hosts finds the breakage: %s",
  async (breakage, { migrations = 1, faults = 1 }) => {
    const search = { hosts: 2, migrations, faults, breakage };
    const found = await searchInThread(search);
    expect(told(found)).toMatch(/^G[1235]/);
    if (faults > 1) return;
    const unreduced = await searchInThread({ ...search, reduced: false });
    expect(verdict(found)).toEqual(verdict(unreduced));
    expect(found.states).toBeLessThanOrEqual(unreduced.states);
  },
);

test("the reduced search of two hosts finds no breakage, like the unreduced one", async () => {
  const search = { hosts: 2, migrations: 2, faults: 1 };
  const [found, unreduced] = [
    await searchInThread(search),
    await searchInThread({ ...search, reduced: false }),
  ];
  expect([told(found), told(unreduced)]).toEqual(["", ""]);
  expect(found.states).toBeLessThan(unreduced.states);
});
