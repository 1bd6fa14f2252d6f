// Checks G1 to G6 in every order of everything that can happen, with disks that are copied and with post-copy.

import { test } from "vitest";
import { searchAll } from "./searched.js";

test("every order of everything, with post-copy, with 1 fault keeps the guarantees, and can still end well", async () => {
  await searchAll("with post-copy", { faults: 1, postcopy: true });
});

test("the same with copied disks and post-copy at once, with 1 fault", async () => {
  await searchAll("with copied disks and post-copy", { faults: 1, storage: true, postcopy: true });
});
