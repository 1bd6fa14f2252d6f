// The destination's states once it has decided to run the guest. Upholds G1 and G3: the decision is durable before
// `cont`, and is reported once it is certain that the guest may have run here.

import { and, not } from "xstate";
import {
  type Answered,
  answers,
  ignoring,
  isDone,
  isFailed,
  recordEffectFailure,
  rejecting,
} from "../shared/actions.js";
import { connection } from "./line.js";
import {
  createStateConfig,
  defer,
  fencedGuest,
  keepWhole,
  memoryGone,
  recordQemuFailure,
  retrying,
} from "./setup.js";

const died = recordQemuFailure("finish");
const disclaiming = "#destination.refusal.disclaiming";

const claiming = createStateConfig({
  description: "the guest is claimed at the fence; the claim is repeated until its result is certain",
  meta: { guest: "held" },
  on: {
    "monitor.resumed": "taking",
    // The fence may have received the claim: it is released, so that the source can have the guest.
    "process.exited": { target: disclaiming, actions: died },
  },
  ...retrying(
    "claim",
    [
      { guard: isDone, target: "#destination.takeover.taking" },
      // The fence may have received an earlier claim whose result is unknown.
      { guard: isFailed, target: disclaiming, actions: recordEffectFailure("claim") },
    ],
    { as: "trying", input: fencedGuest },
  ),
});

const taking = createStateConfig({
  description:
    "the decision to take the guest becomes durable, then the guest is resumed; the answer shows whether it was",
  meta: { rehydratesAs: "resuming" },
  tags: ["decided"],
  invoke: {
    src: "take",
    id: "take",
    input: ({ context }) => context.guest,
    onDone: [
      {
        guard: ({ event, context }) => isFailed({ event }) && context.guest.fencingToken !== null,
        target: disclaiming,
        actions: recordEffectFailure("take"),
      },
      // In post-copy no other copy can run, so the guest is not abandoned: the effect is repeated until it runs.
      {
        guard: and([({ event }: Answered) => isFailed({ event }), "inPostcopy", not("isDying")]),
        target: "resuming",
        actions: recordEffectFailure("take"),
      },
      { guard: isFailed, target: "#destination.refusal", actions: recordEffectFailure("take") },
      // `cont` may have taken effect before QEMU died: this copy may have run, so the source's must not.
      { guard: "isDying", target: "#destination.lost" },
      { guard: isDone, target: "checkingMemory" },
      { target: "resuming", actions: recordEffectFailure("take") },
    ],
  },
  initial: "asking",
  on: { "monitor.resumed": "checkingMemory" },
  states: {
    asking: { on: { "process.exited": { target: "dying", actions: died } } },
    dying: {
      description: "this QEMU has died; the pending answer will show whether the guest may have run here",
      on: { "process.exited": ignoring("already known") },
    },
  },
});

const resuming = createStateConfig({
  description:
    "point of no return: `cont` had no answer, so the guest may run here; it is repeated until that is certain",
  tags: ["decided"],
  on: { "monitor.resumed": "checkingMemory" },
  ...retrying(
    "resume",
    [
      { guard: isDone, target: "#destination.takeover.checkingMemory" },
      { guard: "outOfAttempts", target: "#destination.stuck", actions: recordEffectFailure("resume") },
    ],
    { as: "trying", initial: "waiting", input: ({ context }) => context.guest },
  ),
});

const checkingMemory = createStateConfig({
  description: "the guest is taken; it has arrived once all of its memory is here",
  meta: { guest: "runs", rehydratesAs: "resuming" },
  tags: ["decided"],
  always: [{ guard: "isWhole", target: "#destination.arrived" }, { target: "fetchingPages" }],
});

const fetchingPages = createStateConfig({
  description: "post-copy: the guest runs here, and its memory is fetched from the source on demand",
  entry: "replayDeferred",
  meta: { guest: "runs" },
  tags: ["decided", "taken"],
  type: "parallel",
  on: {
    "source.conceded": [
      { guard: "isConnected", target: "orphaned" },
      { target: "#destination.lost", actions: memoryGone },
    ],
    "monitor.completed": { target: "#destination.arrived", actions: keepWhole },
  },
  states: {
    connection: connection({ runsHere: true }),
    handover: {
      initial: "inquiring",
      states: {
        inquiring: {
          description: "the last memory may have arrived while this side decided",
          invoke: {
            src: "probeDestination",
            id: "probeDestination",
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

const orphaned = createStateConfig({
  description:
    "post-copy, and the source's QEMU is dead: the guest is complete if all of its memory was under way",
  meta: { guest: "runs", libvirt: "postcopyFailed" },
  tags: ["decided", "taken"],
  on: {
    "source.conceded": ignoring("already known"),
    "monitor.completed": { target: "#destination.arrived", actions: keepWhole },
    "monitor.postcopyPaused": { target: "#destination.lost", actions: memoryGone },
  },
  ...retrying(
    "probeDestination",
    [
      { guard: answers("runs"), target: "#destination.arrived" },
      { guard: answers("received"), target: "#destination.arrived" },
      { guard: answers("runsBroken"), target: "#destination.lost", actions: memoryGone },
      // QEMU itself waits for memory that never arrives.
      { guard: "outOfAttempts", target: "#destination.lost", actions: memoryGone },
    ],
    { as: "asking" },
  ),
});

export const takeover = createStateConfig({
  description:
    "Finish: the guest is taken and resumed; once that is certain, every question is answered *taken*",
  meta: { group: true, phase: "finish3", guest: "unsure" },
  initial: "taking",
  on: {
    "coordinator.finishRequested": ignoring("the guest is being taken"),
    "coordinator.finishCancelledRequested": rejecting(
      "the guest is being taken; the source must end its copy",
    ),
    "source.settleRequested": ignoring("the answer follows when `cont` has been answered"),
    // In post-copy this means more than that the guest is to be taken: it is processed again then.
    "source.conceded": defer("source.conceded", "the guest is being taken"),
    "source.announced": ignoring("the guest is being taken"),
    "source.handedOver": ignoring("the guest is being taken"),
    "process.exited": { target: "lost", actions: died },
  },
  states: { claiming, taking, resuming, checkingMemory, fetchingPages, orphaned },
});
