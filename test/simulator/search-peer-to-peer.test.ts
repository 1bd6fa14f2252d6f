// Checks G1 to G6 in every order of events, peer-to-peer.

import { test } from "vitest";
import { searchAll } from "./searched.js";

test("every order of events, peer-to-peer, with up to 3 faults, keeps the guarantees and can still end well", async () => {
  await searchAll("peer-to-peer", { faults: 3, peerToPeer: true });
});
