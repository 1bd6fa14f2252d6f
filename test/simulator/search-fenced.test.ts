// Checks G1 to G6 in every order of events, with a fence.

import { test } from "vitest";
import { searchAll } from "./searched.js";

const policy = { whenUnreachable: "fence", patienceMs: 1 } as const;

test("every order of events, with a fence and up to 2 faults, keeps the guarantees and can still end well", async () => {
  await searchAll("managed, fenced", { faults: 2, policy });
  await searchAll("peer-to-peer, fenced", { faults: 2, policy, peerToPeer: true });
});
