// Breakages of the host world: each turns one rule of the daemon off. The search has to find each of them.

import { answerOfHost, atRestart } from "../../src/protocol/host-evidence.js";
import { type HostRules, type Kept, orders } from "../../src/testing/hosts/surroundings.js";

const without = (order: Kept) => (): Partial<HostRules> => ({
  keeps: new Set(orders.filter((kept) => kept !== order)),
});

export const breakages: Readonly<Record<string, () => Partial<HostRules>>> = {
  "a refusal is said and not recorded": without("the refusal is durable before it is said"),
  "the guest runs before taken is durable": without("taken is durable before the guest runs"),
  "a concession is said before it is durable": without("the concession is durable before it is said"),
  "an unknown answer counts as refused": without("an unknown answer leaves the source paused"),
  "a guest that has left is not recorded as away": without("a guest that has left is recorded as away"),
  "the record that a guest departs is not written": without(
    "the record that a guest departs is written before anything is sent",
  ),
  "a mute QEMU counts as gone": without("a mute QEMU counts as alive"),
  "a mute QEMU that answers frees a guest whose story is unreadable": without(
    "a mute QEMU that answers again frees only an ordinary guest",
  ),
  "a concession answers for a later away record": without(
    "a concession answers for the away record that it was asked about",
  ),
  "Confirm without a receipt ends the source's copy": () => ({ confirmCounts: () => true }),
  "refused is answered when the story is unreadable": () => ({
    answerOfHost: (host) => (host.isUnreadable ? "refused" : answerOfHost(host)),
  }),
  "the identity of the journal is not compared": () => ({
    answerOfHost: (host) => answerOfHost({ ...host, isOtherJournal: false }),
  }),
  "a handed-over guest with an unreadable story is adopted as an ordinary one": () => ({
    atRestart: (guest) => (guest.isUnreadable ? "attach" : atRestart(guest)),
  }),
  "a journal that was lost is taken for one in which nothing was decided": () => ({
    atRestart: (guest) => atRestart({ ...guest, isForgotten: false }),
  }),
};
