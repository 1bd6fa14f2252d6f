// The destination's states in post-copy until the guest is handed over: from the source's announcement, over a guest that
// could run here while its memory is still at the source. Upholds G1 and G3: once post-copy was announced only the source
// gives the guest up.

import { and } from "xstate";
import { keeping } from "../shared/actions.js";
import { line } from "./line.js";
import { createStateConfig, deciding, keepPartly, keepWhole, noteDestroyed, noteQemu } from "./setup.js";

const receivingPostcopy = createStateConfig({
  description:
    "memory comes in; post-copy may begin, so that only the source gives the guest up from here on",
  on: {
    "coordinator.finishAsked": "#destination.incoming.completing",
    "source.handedOver": { target: "entrusted", actions: "keepAnnounced" },
    "source.yielded": "#destination.incoming.completing",
    "monitor.postcopy": { target: "runnable", actions: keepPartly },
    "monitor.completed": { target: "runnable", actions: keepWhole },
  },
  // No deadline refuses here: a source that goes over to post-copy in the same moment could not run the guest any more.
  after: { receive: { target: "receivingPostcopy", reenter: true } },
});

const runnable = createStateConfig({
  description: "the guest can run here, and only its source gives it up; it is still to be handed over",
  type: "parallel",
  on: {
    "coordinator.finishAsked": deciding(),
    "source.handedOver": deciding(),
    // The source's QEMU is dead: what is missing here comes if it was under way, or never.
    "source.yielded": [
      { guard: and(["isWhole", "mustClaim"]), target: "#destination.takeover.claiming" },
      { guard: "isWhole", target: "#destination.takeover.taking" },
      { target: "#destination.incoming.completing" },
    ],
    "monitor.completed": { actions: keepWhole },
    "monitor.resumed": "#destination.takeover.taking",
  },
  states: {
    line: line({ runsHere: false }),
    hand: {
      initial: "awaited",
      states: { awaited: { after: { finish: { target: "awaited", reenter: true } } } },
    },
  },
});

const entrusted = createStateConfig({
  description: "the guest has been handed over in post-copy, and this QEMU still loads its devices",
  meta: { phase: "finish3" },
  on: {
    "coordinator.finishAsked": keeping("known already"),
    "source.handedOver": keeping("known already"),
    "source.yielded": "#destination.incoming.completing",
    "monitor.postcopy": deciding(keepPartly),
    "monitor.completed": deciding(keepWhole),
    "monitor.resumed": "#destination.takeover.taking",
  },
  after: { complete: { target: "entrusted", reenter: true } },
});

export const postcopy = createStateConfig({
  description: "Perform, after the source has announced post-copy: only the source gives the guest up",
  meta: { group: true, phase: "prepare", guest: "held", rehydratesAs: "recovering" },
  tags: ["announced"],
  initial: "receivingPostcopy",
  on: {
    // Perform has failed for the coordinator; for the source it may not have.
    "coordinator.finishCancelledAsked": keeping(
      "only the source takes the guest back, since post-copy was announced",
    ),
    "source.asked": "refusal",
    // The operator answers for it: a source that is in post-copy already cannot run the guest any more.
    "operator.destroyed": { target: "refusal", actions: noteDestroyed },
    "source.announced": keeping("known already"),
    "monitor.failed": { target: "refusal", actions: noteQemu("perform") },
    "process.exited": { target: "refusal", actions: noteQemu("perform") },
  },
  states: { receivingPostcopy, runnable, entrusted },
});
