// Breakages of the host world: each disables one rule of the daemon, or one transition of its domain machine. The search must
// find each of them.

import { type AnyStateMachine, type AnyStateNodeConfig, createMachine } from "xstate";
import { domainMachine } from "../../src/machines/domain/machine.js";
import { answerOfHost, atRestart } from "../../src/protocol/host-evidence.js";
import { type HostRules, type Kept, orders } from "../../src/simulator/hosts/surroundings.js";

export interface Breakage {
  /** The smallest search that finds it; one migration and one fault by default. */
  readonly migrations?: number;
  readonly faults?: number;
  readonly rules: () => Partial<HostRules>;
}

const without = (order: Kept): Breakage => ({
  rules: () => ({ keeps: new Set(orders.filter((kept) => kept !== order)) }),
});
const rules = (broken: Partial<HostRules>): Breakage => ({ rules: () => broken });

/** Replaces transitions in one state of the domain machine. */
function withTransitions(state: string, on: AnyStateNodeConfig["on"]): AnyStateMachine {
  const { states } = domainMachine.config;
  const before: AnyStateNodeConfig = states?.[state as keyof typeof states] ?? {};
  const after = { ...before, on: { ...before.on, ...on } };
  return createMachine(
    { ...domainMachine.config, states: { ...states, [state]: after } } as AnyStateNodeConfig,
    domainMachine.implementations as never,
  );
}

export const breakages: Readonly<Record<string, Breakage>> = {
  "a refusal is said and not recorded": without("the refusal is durable before it is reported"),
  "the guest runs before taken is durable": without("taken is durable before the guest runs"),
  "a concession is said before it is durable": without("the concession is durable before it is reported"),
  "an unknown answer counts as refused": without("an unknown answer leaves the source paused"),
  "an away guest is started without a question": without("an away guest is reclaimed before it is started"),
  "a guest that has left is not recorded as away": without("a guest that has left is recorded as away"),
  "the record that a guest departs is not written": without(
    "the departure of a guest is recorded before anything is sent",
  ),
  "a mute QEMU counts as gone": without("a mute QEMU counts as alive"),
  "a mute QEMU that answers frees a guest whose story is unreadable": without(
    "a mute QEMU that answers again releases only an ordinary guest",
  ),
  "a concession answers for a later away record": without(
    "a concession applies only to the away record for which it was requested",
  ),
  "an away record that could not be written is forgotten when the guest may come back": {
    migrations: 2,
    faults: 2,
    ...without("an away guest stays away while its record is overwritten"),
  },
  "the Confirm of an earlier migration is accepted": {
    migrations: 3,
    faults: 0,
    ...without("a message is matched by the migration's id"),
  },
  "Confirm without a receipt ends the source's copy": rules({ confirmCounts: () => true }),
  "refused is answered when the story is unreadable": rules({
    answerOfHost: (host) => (host.isUnreadable ? "refused" : answerOfHost(host)),
  }),
  "the identity of the journal is not compared": rules({
    answerOfHost: (host) => answerOfHost({ ...host, isOtherJournal: false }),
  }),
  "a handed-over guest with an unreadable story is adopted as an ordinary one": rules({
    atRestart: (guest) => (guest.isUnreadable ? "attach" : atRestart(guest)),
  }),
  "a journal that was lost is taken for one in which nothing was decided": rules({
    atRestart: (guest) => atRestart({ ...guest, isForgotten: false, isBegun: false }),
  }),
  "a story that was lost counts as a migration that never began": rules({
    atRestart: (guest) => atRestart({ ...guest, isBegun: false }),
  }),
  "a start does not reserve the guest": {
    rules: () => ({
      machine: withTransitions("starting", {
        "peer.prepareRequested": { target: "arriving", actions: "reserve" },
      }),
    }),
  },
  "a guest that arrives does not reserve itself": {
    rules: () => ({
      machine: withTransitions("arriving", {
        "operator.startRequested": { target: "starting", actions: "keepStart" },
      }),
    }),
  },
  "a quarantined guest that may run elsewhere is released as if nothing were known of it": {
    rules: () => ({ machine: withTransitions("quarantined", { "operator.releaseRequested": "examining" }) }),
  },
  "a quarantined guest is resumed": {
    rules: () => ({
      machine: withTransitions("quarantined", { "operator.resumeRequested": "active.resuming" }),
    }),
  },
  "a guest that departs is resumed": {
    rules: () => ({
      machine: withTransitions("departing", { "operator.resumeRequested": "active.resuming" }),
    }),
  },
};
