// The destination's states in post-copy: from the source's word that it may come, over a guest that runs here while its
// memory is still at the source, to one that is whole. Upholds G1 and G3: once it was announced only the source gives the
// guest up, and once it is handed over nobody does.

import { and, assign, stateIn } from "xstate";
import { failure } from "../protocol/failures.js";
import { died, takes } from "./destination-deciding.js";
import { deciding, partly, undecided, whole } from "./destination-receiving.js";
import { createStateConfig } from "./destination-setup.js";
import { answers, isDone, keeping, noteThat } from "./habits.js";

const memoryGone = noteThat(
  failure("died", "perform", "source", {
    message:
      "the source's QEMU died in post-copy, or lost its connection for good: what of the guest's memory had not come is lost; what is left runs here until it needs some of it",
  }),
);

/** Perform has failed for the coordinator; for the source it may not have. */
const onlySource = keeping("only the source takes the guest back, since post-copy was announced");

export const receivingPostcopy = createStateConfig({
  description:
    "memory comes in; post-copy may begin, so that only the source gives the guest up from here on",
  meta: { phase: "prepare" },
  tags: ["prepared"],
  on: {
    ...undecided,
    "coordinator.finishCancelledAsked": onlySource,
    "coordinator.finishAsked": "completing",
    "source.announced": keeping("known already"),
    "source.handedOver": { target: "entrusted", actions: "keepAnnounced" },
    "source.yielded": "completing",
    "monitor.postcopy": { target: "runnable", actions: partly },
    "monitor.completed": { target: "runnable", actions: whole },
  },
  after: { receive: { target: "receivingPostcopy", reenter: true } },
});

/** A post-copy that has lost its connection listens again when its source asks for it. */
export const line = createStateConfig({
  initial: "connected",
  on: {
    "source.reconnectAsked": ".relistening",
    "monitor.postcopy": ".connected",
    "monitor.postcopyPaused": ".disconnected",
  },
  states: {
    connected: { description: "the source's QEMU serves the memory that is missing" },
    disconnected: { description: "the connection is broken; the source asks for another" },
    relistening: {
      description: "QEMU is told to listen again",
      invoke: {
        src: "relisten",
        id: "relisten",
        onDone: [
          {
            guard: isDone,
            target: "listening",
            actions: assign(({ context, event: { output } }) =>
              output.kind === "done" ? { ...context, reconnection: output.value } : context,
            ),
          },
          { target: "disconnected" },
        ],
      },
      on: {
        "source.reconnectAsked": keeping("QEMU is being told"),
        "monitor.postcopyPaused": keeping("known already"),
      },
    },
    listening: {
      description: "QEMU listens again",
      on: { "source.reconnectAsked": keeping("the answer follows from the state") },
    },
  },
});

export const runnable = createStateConfig({
  description: "the guest can run here, and only its source gives it up; it is still to be handed over",
  meta: { phase: "prepare" },
  tags: ["prepared"],
  type: "parallel",
  on: {
    ...undecided,
    "coordinator.finishCancelledAsked": onlySource,
    "source.announced": keeping("known already"),
    "coordinator.finishAsked": deciding,
    "source.handedOver": deciding,
    // The source's QEMU is dead: what is missing here comes if it was under way, or never.
    "source.yielded": [
      { guard: and(["isWhole", "mustClaim"]), target: "claiming" },
      { guard: "isWhole", target: "taking" },
      { target: "completing" },
    ],
    "monitor.completed": { actions: whole },
    "monitor.resumed": "taking",
  },
  states: {
    line,
    hand: {
      initial: "awaited",
      states: { awaited: { after: { finish: { target: "awaited", reenter: true } } } },
    },
  },
});

export const entrusted = createStateConfig({
  description: "the guest has been handed over in post-copy, and this QEMU still loads its devices",
  meta: { phase: "finish3" },
  tags: ["prepared"],
  on: {
    ...undecided,
    "coordinator.finishCancelledAsked": onlySource,
    "source.announced": keeping("known already"),
    "coordinator.finishAsked": keeping("known already"),
    "source.handedOver": keeping("known already"),
    "source.yielded": "completing",
    "monitor.postcopy": deciding.map((it) => ({ ...it, actions: partly })),
    "monitor.completed": deciding.map((it) => ({ ...it, actions: whole })),
    "monitor.resumed": "taking",
  },
  after: { complete: { target: "entrusted", reenter: true } },
});

export const landing = createStateConfig({
  description: "the guest is taken: it has arrived when all of its memory is here",
  always: [{ guard: "isWhole", target: "arrived" }, { target: "fetching" }],
});

export const fetching = createStateConfig({
  description: "post-copy: the guest runs here, and its memory comes from the source as it is needed",
  entry: "putAgain",
  meta: { phase: "finish3" },
  tags: ["prepared", "taken"],
  type: "parallel",
  on: {
    ...takes,
    "source.yielded": [
      { guard: stateIn({ fetching: { line: "connected" } }), target: "orphaned" },
      { target: "lost", actions: memoryGone },
    ],
    "monitor.completed": { target: "arrived", actions: whole },
    "process.exited": { target: "lost", actions: died },
  },
  states: {
    line,
    hand: {
      initial: "inquiring",
      states: {
        inquiring: {
          description: "the last of the memory may have come while this side decided",
          invoke: {
            src: "inquireDestination",
            id: "inquireDestination",
            onDone: [
              { guard: answers("runs"), target: "#destination.arrived" },
              { guard: answers("received"), target: "#destination.arrived" },
              { target: "waiting" },
            ],
          },
        },
        waiting: { after: { receive: "inquiring" } },
      },
    },
  },
});

export const orphaned = createStateConfig({
  description:
    "post-copy, and the source's QEMU is dead: the guest is whole if all of its memory was under way",
  meta: { phase: "finish3" },
  tags: ["prepared", "taken"],
  entry: "firstAttempt",
  initial: "asking",
  on: {
    ...takes,
    "source.yielded": keeping("known already"),
    "monitor.completed": { target: "arrived", actions: whole },
    "monitor.postcopyPaused": { target: "lost", actions: memoryGone },
    "process.exited": { target: "lost", actions: died },
  },
  states: {
    asking: {
      entry: "countAttempt",
      invoke: {
        src: "inquireDestination",
        id: "inquireDestination",
        onDone: [
          { guard: answers("runs"), target: "#destination.arrived" },
          { guard: answers("received"), target: "#destination.arrived" },
          { guard: answers("runsBroken"), target: "#destination.lost", actions: memoryGone },
          // QEMU itself waits for memory that never comes.
          { guard: "outOfAttempts", target: "#destination.lost", actions: memoryGone },
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "asking" } },
  },
});
