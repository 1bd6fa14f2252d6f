// The destination's states until its copy is whole: it prepares, listens, receives, and refuses whenever it is asked too
// early who runs the guest.

import { assign } from "xstate";
import { failure } from "../../protocol/failure.js";
import { answers, isDone, keeping, noteEffect, refusing } from "../shared/actions.js";
import {
  announcedAnd,
  createStateConfig,
  deciding,
  ending,
  keepPartly,
  keepWhole,
  noteDestroyed,
  noteQemu,
  putOff,
  refusesLate,
} from "./setup.js";

const refusal = "#destination.refusal";
const runnable = "#destination.postcopy.runnable";
const receivingPostcopy = "#destination.postcopy.receivingPostcopy";

const preparing = createStateConfig({
  description: "starts QEMU paused, sets its capabilities, has it listen",
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
      { target: refusal, actions: noteEffect("prepare") },
    ],
  },
  on: {
    "coordinator.finishAsked": refusing("Prepare has not been answered yet"),
    "source.yielded": refusal,
    "source.announced": refusal,
    "source.handedOver": refusal,
    "monitor.failed": ending,
    "process.exited": { target: refusal, actions: noteQemu("prepare") },
  },
});

const listening = createStateConfig({
  description: "QEMU listens; the stream has not begun",
  on: { "monitor.active": "receiving" },
  after: { listen: refusesLate("perform", "the stream", "listenMs") },
});

const receiving = createStateConfig({
  description: "memory comes in",
  after: { receive: refusesLate("perform", "the end of the stream", "receiveMs") },
});

const streaming = createStateConfig({
  description: "the stream is awaited, or comes in",
  meta: { group: true },
  initial: "listening",
  on: {
    "monitor.completed": "received",
    "monitor.postcopy": { target: runnable, actions: keepPartly },
    "coordinator.finishAsked": "completing",
    "source.yielded": "completing",
    "source.announced": { target: receivingPostcopy, actions: "keepAnnounced" },
    "source.handedOver": { target: "#destination.postcopy.entrusted", actions: "keepAnnounced" },
  },
  states: { listening, receiving },
});

const completing = createStateConfig({
  description: "the source is done, this QEMU still loads the end of the stream",
  meta: { phase: "finish3" },
  on: {
    "monitor.completed": deciding(keepWhole),
    "coordinator.finishAsked": keeping("known already"),
    "source.yielded": keeping("known already"),
    // One that is late: the source has died since.
    "source.handedOver": keeping("the end of the stream decides"),
    "monitor.postcopy": { actions: keepPartly },
    // The source is dead, and had not sent all.
    "monitor.postcopyPaused": refusal,
  },
  after: { complete: refusesLate("finish", "the end of the stream", "completeMs") },
});

const received = createStateConfig({
  description: "the guest is here whole and paused; who runs it is not decided yet",
  on: {
    "coordinator.finishAsked": deciding(),
    "source.yielded": deciding(),
    // Someone else let it run: it has run here, so the source's copy must not (G3).
    "monitor.resumed": "#destination.takeover.taking",
  },
  after: { finish: refusesLate("finish", "Finish", "finishMs") },
});

const recovering = createStateConfig({
  description: "the engine was restarted in the middle of the stream: QEMU is asked how far it is",
  exit: "putAgain",
  meta: { guest: "unsure" },
  invoke: {
    src: "inquireDestination",
    id: "inquireDestination",
    onDone: [
      { guard: announcedAnd("listening", "receiving"), target: receivingPostcopy },
      { guard: announcedAnd("received"), target: runnable, actions: keepWhole },
      { guard: answers("listening"), target: "streaming.listening" },
      { guard: answers("receiving"), target: "streaming.receiving" },
      { guard: answers("partly"), target: runnable, actions: keepPartly },
      { guard: answers("received"), target: "received", actions: keepWhole },
      // It has run here, so the source's copy must not (G3).
      { guard: answers("runs"), target: "#destination.takeover.taking", actions: keepWhole },
      { guard: answers("runsPartly"), target: "#destination.takeover.taking", actions: keepPartly },
      { guard: answers("runsBroken"), target: "#destination.takeover.taking", actions: keepPartly },
      {
        guard: isDone,
        target: refusal,
        actions: {
          type: "note",
          params: failure("qemu", "perform", "destination", {
            message: "QEMU refused the stream while the engine was down",
          }),
        },
      },
      { target: refusal, actions: noteEffect("inquireDestination") },
    ],
  },
  on: {
    "coordinator.finishAsked": putOff("coordinator.finishAsked"),
    "coordinator.finishCancelledAsked": putOff("coordinator.finishCancelledAsked"),
    "source.asked": putOff("source.asked"),
    "source.yielded": putOff("source.yielded"),
    "source.announced": putOff("source.announced"),
    "source.handedOver": putOff("source.handedOver"),
    "source.reconnectAsked": putOff("source.reconnectAsked"),
    // Observed in the same turn as the answer, and newer.
    "monitor.active": [
      { guard: "wasAnnounced", target: receivingPostcopy },
      { target: "streaming.receiving" },
    ],
    "monitor.postcopy": { target: runnable, actions: keepPartly },
    "monitor.completed": [
      { guard: "wasAnnounced", target: runnable, actions: keepWhole },
      { target: "received", actions: keepWhole },
    ],
    "monitor.resumed": "#destination.takeover.taking",
  },
});

export const incoming = createStateConfig({
  description: "Prepare and Perform: QEMU receives the guest; a question who runs it is a refusal, for good",
  meta: { group: true, phase: "prepare", guest: "held", rehydratesAs: "recovering" },
  initial: "preparing",
  on: {
    "coordinator.finishCancelledAsked": "refusal",
    "source.asked": "refusal",
    "operator.destroyed": { target: "refusal", actions: noteDestroyed },
    "monitor.failed": { target: "refusal", actions: noteQemu("perform") },
    "process.exited": { target: "refusal", actions: noteQemu("perform") },
  },
  states: { preparing, streaming, completing, received, recovering },
});
