// The source's states in post-copy: the destination takes the guest, and this QEMU serves the memory that is missing
// there. Upholds G1 and G3: once the hand-over has been asked for, only a refusal leads back to a guest that runs here.

import { assign } from "xstate";
import { failure } from "../protocol/failures.js";
import { answers, isDone, isFailed, isUnknown, keeping, noteEffect, noteThat, present } from "./habits.js";
import { askWhoRuns } from "./source-letting-go.js";
import {
  asksAlready,
  createStateConfig,
  fencedGuest,
  knownAlready,
  pastReturn,
  toInquire,
} from "./source-setup.js";

const refusedThere = noteThat(
  failure("refused", "perform", "destination", {
    message: "the destination refused the guest in post-copy",
  }),
);
const lostThere = noteThat(
  failure("died", "perform", "destination", {
    message:
      "the destination lost the guest in post-copy; what is left is this copy as it was at the switch, which QEMU cannot run any more",
  }),
);

const followsLater = keeping("the answer follows when all memory is there");

/** The guest runs at the destination, or is about to. */
const inPostcopy = {
  "coordinator.confirmAsked": followsLater,
  "coordinator.confirmCancelledAsked": followsLater,
  "person.aborted": pastReturn,
  "person.postcopyAsked": keeping("it is in post-copy already"),
  "monitor.completed": "handedOver",
  // QEMU gives up by itself, and may let its guest go on: the destination says whether it has taken it.
  "monitor.failed": { target: "askingBack", actions: "noteFailed" },
  "monitor.resumed": "askingBack",
  "monitor.cancelled": "askingBack",
  "process.exited": { target: "yielding", actions: "noteDied" },
} as const;

export const handingOver = createStateConfig({
  description: "point of no return: QEMU is in post-copy, and the destination is asked to take the guest",
  meta: { phase: "perform3" },
  tags: ["pointOfNoReturn"],
  entry: "firstAttempt",
  initial: "asking",
  on: { ...inPostcopy, "monitor.postcopy": knownAlready, "monitor.postcopyPaused": "reconnecting" },
  states: {
    asking: {
      entry: "countAttempt",
      invoke: {
        src: "handOver",
        id: "handOver",
        input: ({ context }) => context.identity,
        onDone: [
          { guard: answers("taken"), target: "#source.serving" },
          { guard: answers("refused"), target: "#source.cancelling", actions: refusedThere },
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "asking" } },
  },
});

export const serving = createStateConfig({
  description: "the guest runs at the destination, and its missing memory is served from here",
  meta: { phase: "perform3" },
  tags: ["pointOfNoReturn"],
  initial: "watching",
  on: { ...inPostcopy, "monitor.postcopyPaused": "reconnecting" },
  states: {
    watching: {
      description: "gives the connection up when no byte moves for the stall limit",
      on: {
        "monitor.progressed": [
          { guard: "moved", target: "watching", reenter: true, actions: "takeProgress" },
          { actions: "takeProgress" },
        ],
      },
      after: { stall: "breaking" },
    },
    breaking: {
      description: "the connection is given up, to be made anew",
      invoke: {
        src: "breakStream",
        id: "breakStream",
        onDone: [
          // Its connection broke as it ended, and QEMU hangs in that: the destination knows whether it has all memory.
          { guard: isFailed, target: "#source.reconnecting" },
          { target: "watching" },
        ],
      },
    },
  },
});

export const reconnecting = createStateConfig({
  description: "post-copy has lost its connection: neither side can go on alone, so it is made anew",
  meta: { phase: "perform3" },
  tags: ["pointOfNoReturn"],
  entry: "firstAttempt",
  initial: "asking",
  on: { ...inPostcopy, "monitor.postcopy": "handingOver", "monitor.postcopyPaused": ".waiting" },
  states: {
    asking: {
      description: "the destination is asked to listen again",
      entry: "countAttempt",
      invoke: {
        src: "reconnect",
        id: "reconnect",
        input: ({ context }) => context.identity,
        onDone: [
          { guard: answers("arrived"), target: "#source.killing" },
          // Nothing is to be sent any more, only said.
          { guard: answers("whole"), target: "#source.handingOver" },
          { guard: answers("lost"), target: "#source.lost", actions: lostThere },
          {
            guard: isDone,
            target: "resuming",
            actions: assign(({ context, event: { output } }) =>
              output.kind === "done" && typeof output.value === "object"
                ? { ...context, reconnection: output.value }
                : context,
            ),
          },
          { target: "waiting" },
        ],
      },
    },
    resuming: {
      description: "QEMU is told where to connect to",
      invoke: {
        src: "resumeStream",
        id: "resumeStream",
        input: ({ context }) => present(context.reconnection, "where to connect to"),
        onDone: [
          { guard: isDone, target: "connecting" },
          { guard: isUnknown, target: "waiting" },
          { guard: "outOfAttempts", target: "#source.stranded", actions: noteEffect("resumeStream") },
          { target: "waiting" },
        ],
      },
    },
    connecting: {
      description: "QEMU and its peer find out what is missing",
      after: { reconnect: "waiting" },
    },
    waiting: { after: { backoff: "asking" } },
  },
});

export const stranded = createStateConfig({
  description:
    "the destination has lost its connection, and QEMU does not give it up here: the guest is lost, which the destination is told",
  meta: { phase: "perform3" },
  tags: ["pointOfNoReturn"],
  entry: "firstAttempt",
  initial: "asking",
  on: { ...inPostcopy, "monitor.postcopy": "handingOver", "monitor.postcopyPaused": "reconnecting" },
  states: {
    asking: {
      entry: "countAttempt",
      invoke: {
        src: "yield",
        id: "yield",
        input: ({ context }) => ({ identity: context.identity, fenced: fencedGuest(context) }),
        onDone: [{ guard: isDone, target: "#source.lost", actions: lostThere }, { target: "waiting" }],
      },
    },
    waiting: { after: { backoff: "asking" } },
  },
});

export const reviving = createStateConfig({
  description: "the engine was restarted in post-copy: QEMU is asked how far it is",
  meta: { phase: "perform3" },
  tags: ["pointOfNoReturn"],
  entry: "firstAttempt",
  initial: "asking",
  on: { ...inPostcopy, "monitor.postcopy": "handingOver", "monitor.postcopyPaused": "reconnecting" },
  states: {
    asking: {
      entry: "countAttempt",
      invoke: {
        src: "inquireSource",
        id: "inquireSource",
        input: ({ context }) => toInquire(context),
        onDone: [
          { guard: answers("postcopy"), target: "#source.handingOver" },
          { guard: answers("broken"), target: "#source.reconnecting" },
          { guard: answers("completed"), target: "#source.handedOver" },
          { guard: isDone, target: "#source.askingBack" },
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "asking" } },
  },
});

export const askingBack = createStateConfig({
  description: "QEMU gave post-copy up: the guest is the source's again, unless the destination has taken it",
  meta: { phase: "perform3" },
  tags: ["pointOfNoReturn"],
  entry: "firstAttempt",
  initial: "asking",
  on: {
    "coordinator.confirmAsked": asksAlready,
    "coordinator.confirmCancelledAsked": asksAlready,
    "person.aborted": pastReturn,
    "process.exited": { target: "yielding", actions: "noteDied" },
  },
  states: askWhoRuns("#source.abandoning", refusedThere),
});

export const abandoning = createStateConfig({
  description:
    "the destination has taken a guest that QEMU serves no more: this copy is ended, then that is told",
  meta: { phase: "perform3" },
  tags: ["pointOfNoReturn"],
  entry: "firstAttempt",
  initial: "trying",
  on: {
    "coordinator.confirmAsked": keeping("this copy is being ended"),
    "coordinator.confirmCancelledAsked": keeping("this copy is being ended"),
    "person.aborted": pastReturn,
    "process.exited": "yielding",
  },
  states: {
    trying: {
      entry: "countAttempt",
      invoke: {
        src: "killSource",
        id: "killSource",
        input: () => null,
        onDone: [
          { guard: isDone, target: "#source.yielding" },
          { guard: "outOfAttempts", target: "#source.stuck", actions: noteEffect("killSource") },
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "trying" } },
  },
});
