// Checks G1 to G6 in every order of events, managed.

import { test } from "vitest";
import { searchAll } from "./searched.js";

test("every order of events, managed, with up to 3 faults, keeps the guarantees and can still end well", async () => {
  await searchAll("managed", { faults: 3 });
});
