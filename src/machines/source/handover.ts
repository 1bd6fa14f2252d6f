// The source's states past the point of no return: its copy stays paused until the destination has said who runs the
// guest. Upholds G1 and G3: only a refusal, or the fence's word, leads from here to a running source.

import { failure } from "../../protocol/failures.js";
import { answers, isDone, keeping, noteEffect, noteThat, present, refusing } from "../shared/actions.js";
import {
  asksAlready,
  createStateConfig,
  fencedGuest,
  knownAlready,
  pastReturn,
  type SourceContext,
} from "./setup.js";

const refusedThere = noteThat(
  failure("refused", "settle", "destination", { message: "the destination refused the guest" }),
);
const fencedOff = noteThat(
  failure("unanswered", "settle", "destination", {
    message: "the destination did not answer; the fence says that it cannot take the guest any more",
  }),
);
const resumedUnsafely = noteThat(
  failure("unanswered", "settle", "destination", {
    message: "the destination did not answer, and the policy is to resume: the guest may run there too",
  }),
);

/** Asks until the destination says who runs the guest. */
export const askWhoRuns = (taken: "#source.killing" | "#source.abandoning", refused: typeof refusedThere) =>
  ({
    asking: {
      entry: "countAttempt",
      invoke: {
        src: "settle",
        id: "settle",
        input: ({ context }: { context: SourceContext }) => context.identity,
        onDone: [
          { guard: answers("taken"), target: taken },
          { guard: answers("refused"), target: "#source.restoring", actions: refused },
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "asking" } },
  }) as const;

export const handedOver = createStateConfig({
  description: "point of no return: the destination holds the guest whole; this copy stays paused",
  meta: { phase: "perform3_done" },
  tags: ["performed", "pointOfNoReturn"],
  on: {
    "coordinator.confirmAsked": "killing",
    "coordinator.confirmCancelledAsked": "settling",
    "person.aborted": pastReturn,
    "process.exited": { target: "yielding", actions: "noteDied" },
  },
  after: { confirm: "settling" },
});

export const settling = createStateConfig({
  description: "asks the destination until it says taken or refused",
  meta: { phase: "perform3_done" },
  tags: ["performed", "pointOfNoReturn"],
  entry: "firstAttempt",
  initial: "asking",
  on: {
    "coordinator.confirmAsked": "killing",
    "coordinator.confirmCancelledAsked": asksAlready,
    "person.aborted": pastReturn,
    "process.exited": { target: "yielding", actions: "noteDied" },
  },
  after: {
    patience: [
      { guard: { type: "policyIs", params: "fence" }, target: ".fencing" },
      { guard: { type: "policyIs", params: "resume" }, target: "restoring", actions: resumedUnsafely },
    ],
  },
  states: {
    ...askWhoRuns("#source.killing", refusedThere),
    fencing: {
      description: "the destination has not answered for long: the fence is asked",
      invoke: {
        src: "fence",
        id: "fence",
        input: ({ context }) => present(fencedGuest(context), "the fencing token"),
        onDone: [
          { guard: isDone, target: "#source.restoring", actions: fencedOff },
          // The destination has claimed the guest, or nobody answers: from the beginning, patience included.
          { target: "#source.settling", reenter: true },
        ],
      },
    },
  },
});

export const yielding = createStateConfig({
  description: "this QEMU is dead; the destination takes the guest if it holds it whole",
  meta: { phase: "perform3_done" },
  tags: ["pointOfNoReturn"],
  entry: "firstAttempt",
  initial: "asking",
  on: {
    "coordinator.confirmAsked": "left",
    "coordinator.confirmCancelledAsked": asksAlready,
    "person.aborted": refusing("the source's QEMU is dead"),
    "process.exited": knownAlready,
  },
  states: {
    asking: {
      entry: "countAttempt",
      invoke: {
        src: "yield",
        id: "yield",
        input: ({ context }) => ({ identity: context.identity, fenced: fencedGuest(context) }),
        onDone: [
          { guard: answers("taken"), target: "#source.left" },
          { guard: answers("refused"), target: "#source.lost" },
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "asking" } },
  },
});

export const killing = createStateConfig({
  description: "the destination has taken the guest; this copy is ended",
  meta: { phase: "confirm3" },
  tags: ["performed", "pointOfNoReturn"],
  entry: "firstAttempt",
  initial: "trying",
  on: {
    "coordinator.confirmAsked": keeping("this copy is being ended already"),
    "coordinator.confirmCancelledAsked": refusing("the destination has taken the guest"),
    "person.aborted": pastReturn,
    "process.exited": "left",
  },
  states: {
    trying: {
      entry: "countAttempt",
      invoke: {
        src: "killSource",
        id: "killSource",
        input: ({ context }) => fencedGuest(context),
        onDone: [
          { guard: isDone, target: "#source.left" },
          { guard: "outOfAttempts", target: "#source.stuck", actions: noteEffect("killSource") },
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "trying" } },
  },
});
