// The destination's states in post-copy until the guest is handed over: they begin with the source's announcement and
// end with a guest that could run here while its memory is still at the source. Upholds G1 and G3: after the
// announcement only the source ends the migration.

import { and } from "xstate";
import { ignoring } from "../shared/actions.js";
import { connection } from "./line.js";
import {
  createStateConfig,
  deciding,
  keepPartly,
  keepWhole,
  recordDestroyed,
  recordQemuFailure,
} from "./setup.js";

const receivingPostcopy = createStateConfig({
  description:
    "receives the memory; post-copy may start, so from here on only the source may abandon the guest",
  on: {
    "coordinator.finishRequested": "#destination.incoming.completing",
    "source.handedOver": { target: "awaitingDevices", actions: "keepAnnounced" },
    "source.conceded": "#destination.incoming.completing",
    "monitor.postcopy": { target: "postcopyReady", actions: keepPartly },
    "monitor.completed": { target: "postcopyReady", actions: keepWhole },
  },
  // No deadline causes a refusal here: a source that switches to post-copy at the same moment could no longer run the
  // guest.
  after: { receive: { target: "receivingPostcopy", reenter: true } },
});

const postcopyReady = createStateConfig({
  description: "the guest can run here, and only the source may abandon it; it has not been handed over yet",
  type: "parallel",
  on: {
    "coordinator.finishRequested": deciding(),
    "source.handedOver": deciding(),
    // The source's QEMU is dead: the missing memory arrives if it was already under way, or never.
    "source.conceded": [
      { guard: and(["isWhole", "mustClaim"]), target: "#destination.takeover.claiming" },
      { guard: "isWhole", target: "#destination.takeover.taking" },
      { target: "#destination.incoming.completing" },
    ],
    "monitor.completed": { actions: keepWhole },
    "monitor.resumed": "#destination.takeover.taking",
  },
  states: {
    connection: connection({ runsHere: false }),
    handover: {
      initial: "awaited",
      states: { awaited: { after: { finish: { target: "awaited", reenter: true } } } },
    },
  },
});

const awaitingDevices = createStateConfig({
  description: "the guest has been handed over in post-copy, and this QEMU still loads its devices",
  meta: { phase: "finish3" },
  on: {
    "coordinator.finishRequested": ignoring("already known"),
    "source.handedOver": ignoring("already known"),
    "source.conceded": "#destination.incoming.completing",
    "monitor.postcopy": deciding(keepPartly),
    "monitor.completed": deciding(keepWhole),
    "monitor.resumed": "#destination.takeover.taking",
  },
  after: { complete: { target: "awaitingDevices", reenter: true } },
});

export const postcopy = createStateConfig({
  description: "Perform, after the source has announced post-copy: only the source may abandon the guest",
  meta: { group: true, phase: "prepare", guest: "held", rehydratesAs: "probing" },
  tags: ["announced"],
  initial: "receivingPostcopy",
  on: {
    // Perform has failed for the coordinator, but possibly not for the source.
    "coordinator.finishCancelledRequested": ignoring(
      "only the source takes the guest back, since post-copy was announced",
    ),
    "source.settleRequested": "refusal",
    // The operator takes responsibility: a source already in post-copy cannot run the guest any more.
    "operator.destroyed": { target: "refusal", actions: recordDestroyed },
    "source.announced": ignoring("already known"),
    "monitor.failed": { target: "refusal", actions: recordQemuFailure("perform") },
    "process.exited": { target: "refusal", actions: recordQemuFailure("perform") },
  },
  states: { receivingPostcopy, postcopyReady, awaitingDevices },
});
