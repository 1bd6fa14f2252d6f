// Checks G1 to G6 in every order of events, with disk mirrors and with post-copy.

import { test } from "vitest";
import { searchAll } from "./searched.js";

test("every order of events, with post-copy and 1 fault, keeps the guarantees and can still end well", async () => {
  await searchAll("with post-copy", { faults: 1, postcopy: true });
});

test("every order of events, with disk mirrors, post-copy and 1 fault, keeps the guarantees and can still end well", async () => {
  await searchAll("with copied disks and post-copy", { faults: 1, storage: true, postcopy: true });
});
