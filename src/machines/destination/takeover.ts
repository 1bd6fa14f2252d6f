// The destination's states once it decides: it takes the guest and runs it, or refuses it for good and ends its copy.
// Upholds G1 and G3: its decision is durable before `cont`, and a refusal is durable before it is said.

import { and, not } from "xstate";
import {
  type Answered,
  isDone,
  isFailed,
  keeping,
  noteEffect,
  refusing as refuses,
} from "../shared/actions.js";
import { createStateConfig, fencedGuest } from "./setup.js";

/** Decided to take: the answer to whoever asks follows from the state, as soon as it is certain. */
export const takes = {
  "coordinator.finishAsked": keeping("the guest is being taken"),
  "coordinator.finishCancelledAsked": refuses("the guest is being taken; the source has to let go"),
  "source.asked": keeping("the answer follows when `cont` has had its own"),
  // In post-copy it means more than that the guest is to be taken: it is heard again then.
  "source.yielded": {
    actions: [
      { type: "putOff", params: "source.yielded" },
      { type: "keep", params: { why: "the guest is being taken" } },
    ],
  },
  "source.announced": keeping("the guest is being taken"),
  "source.handedOver": keeping("the guest is being taken"),
} as const;

export const died = { type: "noteQemu", params: { step: "finish" } } as const;
const diedAnyway = { type: "noteWords", params: { step: "perform" } } as const;

export const claiming = createStateConfig({
  description: "the guest is claimed at the fence; the claim is asked again until it is certain",
  meta: { phase: "finish3" },
  tags: ["prepared"],
  entry: "firstAttempt",
  initial: "trying",
  on: {
    ...takes,
    "monitor.resumed": "taking",
    // The claim may have been heard: the guest is given back, so that the source can have it.
    "process.exited": { target: "disclaiming", actions: died },
  },
  states: {
    trying: {
      entry: "countAttempt",
      invoke: {
        src: "claim",
        id: "claim",
        input: fencedGuest,
        onDone: [
          { guard: isDone, target: "#destination.taking" },
          // An earlier claim, of which nobody knows any more, may have been heard.
          { guard: isFailed, target: "#destination.disclaiming", actions: noteEffect("claim") },
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "trying" } },
  },
});

export const disclaiming = createStateConfig({
  description: "the guest is given back at the fence; it has not run here",
  meta: { phase: "finish3" },
  entry: "firstAttempt",
  initial: "trying",
  on: {
    "source.asked": keeping("the answer follows when the guest has been given back"),
    "process.exited": { actions: diedAnyway },
  },
  states: {
    trying: {
      entry: "countAttempt",
      invoke: {
        src: "disclaim",
        id: "disclaim",
        input: fencedGuest,
        onDone: [{ guard: isDone, target: "#destination.refusing" }, { target: "waiting" }],
      },
    },
    waiting: { after: { backoff: "trying" } },
  },
});

export const taking = createStateConfig({
  description:
    "the decision to take the guest becomes durable, then it is let run; the answer says whether it has been",
  meta: { phase: "finish3" },
  tags: ["prepared"],
  invoke: {
    src: "take",
    id: "take",
    input: ({ context }) => context.guest,
    onDone: [
      {
        guard: ({ event, context }) => isFailed({ event }) && context.guest.fencingToken !== null,
        target: "disclaiming",
        actions: noteEffect("take"),
      },
      // In post-copy nobody else can run it, so it is not given up: tried again until it runs.
      {
        guard: and([({ event }: Answered) => isFailed({ event }), "inPostcopy", not("isDying")]),
        target: "resuming",
        actions: noteEffect("take"),
      },
      { guard: isFailed, target: "refusing", actions: noteEffect("take") },
      // `cont` may have had its effect before QEMU died: this copy may have run, so the source's must not.
      { guard: "isDying", target: "lost" },
      { guard: isDone, target: "landing" },
      { target: "resuming", actions: noteEffect("take") },
    ],
  },
  initial: "asking",
  on: { ...takes, "monitor.resumed": "landing" },
  states: {
    asking: { on: { "process.exited": { target: "dying", actions: died } } },
    dying: {
      description: "this QEMU has died; it is certain soon whether the guest may have run here",
      on: { "process.exited": keeping("known already") },
    },
  },
});

export const resuming = createStateConfig({
  description:
    "point of no return: `cont` had no answer, so the guest may run here; it is asked again until that is certain",
  meta: { phase: "finish3" },
  tags: ["prepared"],
  entry: "firstAttempt",
  initial: "waiting",
  on: {
    ...takes,
    "monitor.resumed": "landing",
    "process.exited": { target: "lost", actions: died },
  },
  states: {
    trying: {
      entry: "countAttempt",
      invoke: {
        src: "resume",
        id: "resume",
        input: ({ context }) => context.guest,
        onDone: [
          { guard: isDone, target: "#destination.landing" },
          { guard: "outOfAttempts", target: "#destination.stuck", actions: noteEffect("resume") },
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "trying" } },
  },
});

export const refusing = createStateConfig({
  description: "the decision never to run this copy becomes durable",
  meta: { phase: "finish3" },
  entry: "firstAttempt",
  initial: "trying",
  on: { "process.exited": { target: "refused", actions: diedAnyway } },
  states: {
    trying: {
      entry: "countAttempt",
      invoke: {
        src: "recordRefusal",
        id: "recordRefusal",
        onDone: [
          { guard: isDone, target: "#destination.killing" },
          { guard: "outOfAttempts", target: "#destination.endingUnrecorded" },
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "trying" } },
  },
});

export const endingUnrecorded = createStateConfig({
  description:
    "the refusal cannot be made durable: it is said when this copy is gone, which is a refusal too",
  meta: { phase: "finish3" },
  entry: "firstAttempt",
  initial: "trying",
  on: { "process.exited": { target: "refused", actions: diedAnyway } },
  states: {
    trying: {
      entry: "countAttempt",
      invoke: {
        src: "killDestination",
        id: "killDestination",
        onDone: [
          { guard: isDone, target: "#destination.refused" },
          { guard: "outOfAttempts", target: "#destination.stuck", actions: noteEffect("killDestination") },
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "trying" } },
  },
});

export const killing = createStateConfig({
  description: "this copy is ended; it will never run",
  meta: { phase: "finish3" },
  tags: ["refused"],
  entry: "firstAttempt",
  initial: "trying",
  on: { "process.exited": { target: "refused", actions: diedAnyway } },
  states: {
    trying: {
      entry: "countAttempt",
      invoke: {
        src: "killDestination",
        id: "killDestination",
        onDone: [
          { guard: isDone, target: "#destination.refused" },
          {
            guard: "outOfAttempts",
            target: "#destination.leftBehind",
            actions: noteEffect("killDestination"),
          },
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "trying" } },
  },
});
