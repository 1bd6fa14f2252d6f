// The destination's states in post-copy until the guest is handed over: from the source's announcement, over a guest that
// could run here while its memory is still at the source. Upholds G1 and G3: once post-copy was announced only the source
// gives the guest up.

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
    "memory comes in; post-copy may begin, so that only the source gives the guest up from here on",
  on: {
    "coordinator.finishRequested": "#destination.incoming.completing",
    "source.handedOver": { target: "awaitingDevices", actions: "keepAnnounced" },
    "source.conceded": "#destination.incoming.completing",
    "monitor.postcopy": { target: "postcopyReady", actions: keepPartly },
    "monitor.completed": { target: "postcopyReady", actions: keepWhole },
  },
  // No deadline refuses here: a source that goes over to post-copy in the same moment could not run the guest any more.
  after: { receive: { target: "receivingPostcopy", reenter: true } },
});

const postcopyReady = createStateConfig({
  description: "the guest can run here, and only its source gives it up; it is still to be handed over",
  type: "parallel",
  on: {
    "coordinator.finishRequested": deciding(),
    "source.handedOver": deciding(),
    // The source's QEMU is dead: what is missing here comes if it was under way, or never.
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
    "coordinator.finishRequested": ignoring("known already"),
    "source.handedOver": ignoring("known already"),
    "source.conceded": "#destination.incoming.completing",
    "monitor.postcopy": deciding(keepPartly),
    "monitor.completed": deciding(keepWhole),
    "monitor.resumed": "#destination.takeover.taking",
  },
  after: { complete: { target: "awaitingDevices", reenter: true } },
});

export const postcopy = createStateConfig({
  description: "Perform, after the source has announced post-copy: only the source gives the guest up",
  meta: { group: true, phase: "prepare", guest: "held", rehydratesAs: "probing" },
  tags: ["announced"],
  initial: "receivingPostcopy",
  on: {
    // Perform has failed for the coordinator; for the source it may not have.
    "coordinator.finishCancelledRequested": ignoring(
      "only the source takes the guest back, since post-copy was announced",
    ),
    "source.settleRequested": "refusal",
    // The operator answers for it: a source that is in post-copy already cannot run the guest any more.
    "operator.destroyed": { target: "refusal", actions: recordDestroyed },
    "source.announced": ignoring("known already"),
    "monitor.failed": { target: "refusal", actions: recordQemuFailure("perform") },
    "process.exited": { target: "refusal", actions: recordQemuFailure("perform") },
  },
  states: { receivingPostcopy, postcopyReady, awaitingDevices },
});
