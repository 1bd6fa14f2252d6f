// Checks G1, G2, G3 and G5 in every order of events in one migration between a switchoverd and a libvirtd, in both directions.
// They do not hold in the windows that docs/guarantees.md lists; nothing else is broken.

import { expect, test } from "vitest";
import type { Explored } from "../../src/simulator/explore.js";
import { type BrokenWindow, brokenWindows } from "../../src/simulator/hosts/libvirtd-windows.js";
import { inThread } from "./in-thread.js";
import { evidenceBreakages } from "./libvirtd-breakages.js";
import type { LibvirtdTask } from "./libvirtd-worker.js";

const searchInThread = (task: LibvirtdTask): Promise<Explored> => inThread("libvirtd-worker", task);

const movesOf = ({ broken }: Explored): string[] => broken?.moves.map(({ name }) => name) ?? [];

const sides = [
  { libvirtd: "destination", mode: "peer-to-peer" },
  { libvirtd: "destination", mode: "managed" },
  { libvirtd: "source", mode: "managed" },
] as const;

const windowsOf = ({ libvirtd, mode }: Pick<BrokenWindow, "libvirtd" | "mode">) =>
  brokenWindows.filter((window) => window.libvirtd === libvirtd && window.mode === mode);

test.each(sides)(
  "with a libvirtd as the $libvirtd, $mode, two faults break no guarantee outside of the listed windows",
  async (side) => {
    const found = await searchInThread({ ...side, faults: 2, allowed: windowsOf(side) });
    const { states, transitions, ends, whole } = found;
    console.log(`libvirtd as the ${side.libvirtd}, ${side.mode}: ${states} states, ${transitions} steps`);
    expect([found.broken?.guarantee, ...movesOf(found)]).toEqual([undefined]);
    expect(whole).toBe(true);
    expect(ends).toBeGreaterThan(10);
  },
);

test.each(brokenWindows)(
  "with a libvirtd as the $libvirtd, $mode, $guarantee is broken when $window, and not with fewer faults",
  async (window) => {
    const { faults, guarantee, moves } = window;
    const search = { ...window, allowed: windowsOf(window).filter((other) => other !== window) };
    const found = await searchInThread(search);
    expect(found.broken?.guarantee.slice(0, guarantee.length)).toBe(guarantee);
    expect(movesOf(found)).toEqual(moves);
    if (faults > 0) expect(movesOf(await searchInThread({ ...search, faults: faults - 1 }))).toEqual([]);
  },
);

test.each(Object.entries(evidenceBreakages))(
  "the search with a libvirtd as the destination finds the breakage: %s",
  async (breakage, { mode }) => {
    const side = { libvirtd: "destination", mode } as const;
    const found = await searchInThread({ ...side, faults: 1, allowed: windowsOf(side), breakage });
    expect(found.broken?.guarantee).toMatch(/^G[1235]/);
  },
);
