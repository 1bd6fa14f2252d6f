// The destination's states until its copy is complete: it prepares, listens and receives, and it refuses when it is
// asked too early who runs the guest.

import { assign } from "xstate";
import { failure } from "../../protocol/failure.js";
import { answers, ignoring, isDone, recordEffectFailure, rejecting } from "../shared/actions.js";
import {
  announcedAnd,
  createStateConfig,
  deciding,
  defer,
  ending,
  keepPartly,
  keepWhole,
  recordDestroyed,
  recordQemuFailure,
  refusesLate,
} from "./setup.js";

const refusal = "#destination.refusal";
const postcopyReady = "#destination.postcopy.postcopyReady";
const receivingPostcopy = "#destination.postcopy.receivingPostcopy";

const preparing = createStateConfig({
  description: "starts QEMU paused, sets its capabilities, and makes it listen",
  meta: { rehydratesAs: "refusing" },
  invoke: {
    src: "prepare",
    id: "prepare",
    input: ({ context }) => ({ identity: context.identity, guest: context.guest }),
    onDone: [
      {
        guard: isDone,
        target: "#destination.incoming.streaming.listening",
        actions: assign(({ context, event }) =>
          event.output.kind === "done" ? { ...context, prepared: event.output.value } : context,
        ),
      },
      { target: refusal, actions: recordEffectFailure("prepare") },
    ],
  },
  on: {
    "coordinator.finishRequested": rejecting("Prepare has not been answered yet"),
    "source.conceded": refusal,
    "source.announced": refusal,
    "source.handedOver": refusal,
    "monitor.failed": ending,
    "process.exited": { target: refusal, actions: recordQemuFailure("prepare") },
  },
});

const listening = createStateConfig({
  description: "QEMU listens; the stream has not begun",
  on: { "monitor.active": "receiving" },
  after: { listen: refusesLate("perform", "the stream", "listenMs") },
});

const receiving = createStateConfig({
  description: "receives the memory",
  after: { receive: refusesLate("perform", "the end of the stream", "receiveMs") },
});

const streaming = createStateConfig({
  description: "waits for the stream, or receives it",
  meta: { group: true },
  initial: "listening",
  on: {
    "monitor.completed": "received",
    "monitor.postcopy": { target: postcopyReady, actions: keepPartly },
    "coordinator.finishRequested": "completing",
    "source.conceded": "completing",
    "source.announced": { target: receivingPostcopy, actions: "keepAnnounced" },
    "source.handedOver": { target: "#destination.postcopy.awaitingDevices", actions: "keepAnnounced" },
  },
  states: { listening, receiving },
});

const completing = createStateConfig({
  description: "the source is done; this QEMU still loads the end of the stream",
  meta: { phase: "finish3" },
  on: {
    "monitor.completed": deciding(keepWhole),
    "coordinator.finishRequested": ignoring("already known"),
    "source.conceded": ignoring("already known"),
    // A late notification: the source's QEMU has died since.
    "source.handedOver": ignoring("the end of the stream decides"),
    "monitor.postcopy": { actions: keepPartly },
    // The source is dead, and had not sent everything.
    "monitor.postcopyPaused": refusal,
  },
  after: { complete: refusesLate("finish", "the end of the stream", "completeMs") },
});

const received = createStateConfig({
  description: "the guest is complete and paused; which side runs it is not decided yet",
  on: {
    "coordinator.finishRequested": deciding(),
    "source.conceded": deciding(),
    // Another client of QEMU resumed the guest: it has run here, so the source's copy must not run (G3).
    "monitor.resumed": "#destination.takeover.taking",
  },
  after: { finish: refusesLate("finish", "Finish", "finishMs") },
});

const probing = createStateConfig({
  description: "the engine was restarted during the stream: QEMU's state is queried",
  exit: "replayDeferred",
  meta: { guest: "unsure" },
  invoke: {
    src: "probeDestination",
    id: "probeDestination",
    onDone: [
      { guard: announcedAnd("listening", "receiving"), target: receivingPostcopy },
      { guard: announcedAnd("received"), target: postcopyReady, actions: keepWhole },
      { guard: answers("listening"), target: "streaming.listening" },
      { guard: answers("receiving"), target: "streaming.receiving" },
      { guard: answers("partly"), target: postcopyReady, actions: keepPartly },
      { guard: answers("received"), target: "received", actions: keepWhole },
      // The guest has run here, so the source's copy must not run (G3).
      { guard: answers("runs"), target: "#destination.takeover.taking", actions: keepWhole },
      { guard: answers("runsPartly"), target: "#destination.takeover.taking", actions: keepPartly },
      { guard: answers("runsBroken"), target: "#destination.takeover.taking", actions: keepPartly },
      {
        guard: isDone,
        target: refusal,
        actions: {
          type: "note",
          params: failure("qemu", "perform", "destination", {
            message: "QEMU rejected the stream while the engine was down",
          }),
        },
      },
      { target: refusal, actions: recordEffectFailure("probeDestination") },
    ],
  },
  on: {
    "coordinator.finishRequested": defer("coordinator.finishRequested"),
    "coordinator.finishCancelledRequested": defer("coordinator.finishCancelledRequested"),
    "source.settleRequested": defer("source.settleRequested"),
    "source.conceded": defer("source.conceded"),
    "source.announced": defer("source.announced"),
    "source.handedOver": defer("source.handedOver"),
    "source.reconnectRequested": defer("source.reconnectRequested"),
    // Delivered in the same tick as the reply, and more recent.
    "monitor.active": [
      { guard: "wasAnnounced", target: receivingPostcopy },
      { target: "streaming.receiving" },
    ],
    "monitor.postcopy": { target: postcopyReady, actions: keepPartly },
    "monitor.completed": [
      { guard: "wasAnnounced", target: postcopyReady, actions: keepWhole },
      { target: "received", actions: keepWhole },
    ],
    "monitor.resumed": "#destination.takeover.taking",
  },
});

export const incoming = createStateConfig({
  description:
    "Prepare and Perform: QEMU receives the guest; a question about who runs it causes a refusal, for good",
  meta: { group: true, phase: "prepare", guest: "held", rehydratesAs: "probing" },
  initial: "preparing",
  on: {
    "coordinator.finishCancelledRequested": "refusal",
    "source.settleRequested": "refusal",
    "operator.destroyed": { target: "refusal", actions: recordDestroyed },
    "monitor.failed": { target: "refusal", actions: recordQemuFailure("perform") },
    "process.exited": { target: "refusal", actions: recordQemuFailure("perform") },
  },
  states: { preparing, streaming, completing, received, probing },
});
