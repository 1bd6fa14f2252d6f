// The source's states past the point of no return: its copy stays paused until the destination has answered who runs
// the guest. Upholds G1 and G3: only a refusal, the fence's decision or an operator's leads from here to a running
// source.

import { failure } from "../../protocol/failure.js";
import {
  answers,
  ignoring,
  isDone,
  present,
  recordEffectFailure,
  recordFailure,
  rejecting,
} from "../shared/actions.js";
import {
  adopted,
  asksAlready,
  createStateConfig,
  fencedGuest,
  isUndecidable,
  knownAlready,
  pastReturn,
  refusedInPostcopy,
  released,
  retrying,
  undecided,
} from "./setup.js";

const refusedThere = recordFailure(
  failure("refused", "settle", "destination", { message: "the destination refused the guest" }),
);
const fencedOff = recordFailure(
  failure("unanswered", "settle", "destination", {
    message: "the destination did not answer; the fence confirms that it can no longer take the guest",
  }),
);
const resumedUnsafely = recordFailure(
  failure("unanswered", "settle", "destination", {
    message: "the destination did not answer, and the policy is `resume`: the guest may also run there",
  }),
);

/** Asks until the destination answers who runs the guest. */
const askWhoRuns = <const Taken extends string, const Refused extends typeof refusedThere>(
  taken: Taken,
  refused: Refused,
) =>
  retrying(
    "settle",
    [
      { guard: answers("taken"), target: taken },
      { guard: answers("refused"), target: "#source.rollback.restoring", actions: refused },
      isUndecidable,
    ],
    { as: "asking", input: ({ context }) => context.identity },
  );

/** Decisions that an operator may make when the destination makes none. */
const operatorDecides = {
  "operator.adopted": { target: "#source.rollback.restoring", actions: adopted },
  "operator.released": { target: "#source.handover.killing", actions: released },
} as const;

const handedOver = createStateConfig({
  description: "point of no return: the destination holds the complete guest; this copy stays paused",
  meta: { libvirt: "migration" },
  tags: ["performed"],
  on: { "coordinator.confirmCancelledRequested": "settling" },
  after: { confirm: "settling" },
});

const killing = createStateConfig({
  description: "the destination has taken the guest; this copy is being ended",
  meta: { phase: "confirm3", guest: "held" },
  tags: ["performed"],
  on: {
    "coordinator.confirmRequested": ignoring("this copy is already being ended"),
    "coordinator.confirmCancelledRequested": rejecting("the destination has taken the guest"),
    "process.exited": "#source.left",
  },
  ...retrying(
    "killSource",
    [
      { guard: isDone, target: "#source.left" },
      { guard: "outOfAttempts", target: "#source.stuck", actions: recordEffectFailure("killSource") },
    ],
    { as: "trying", input: ({ context }) => fencedGuest(context) },
  ),
});

const asking = askWhoRuns("#source.handover.killing", refusedThere);

const settling = createStateConfig({
  description: "asks the destination until it answers taken or refused",
  tags: ["performed"],
  on: operatorDecides,
  ...asking,
  states: {
    ...asking.states,
    undecided,
    fencing: {
      description: "the destination has not answered for a long time: the fence is asked",
      invoke: {
        src: "fence",
        id: "fence",
        input: ({ context }) => present(fencedGuest(context), "the fencing token"),
        onDone: [
          { guard: isDone, target: "#source.rollback.restoring", actions: fencedOff },
          // The destination has claimed the guest, or the fence did not answer: starts over, with a new period of
          // patience.
          { target: "#source.handover.settling", reenter: true },
        ],
      },
    },
  },
  after: {
    patience: [
      { guard: { type: "policyIs", params: "fence" }, target: ".fencing" },
      {
        guard: { type: "policyIs", params: "resume" },
        target: "#source.rollback.restoring",
        actions: resumedUnsafely,
      },
    ],
  },
});

const askingAgain = askWhoRuns("#source.handover.killingFailedPostcopy", refusedInPostcopy);

const settlingFailedPostcopy = createStateConfig({
  description:
    "QEMU abandoned post-copy: the guest belongs to the source again, unless the destination has taken it",
  meta: { phase: "perform3", libvirt: "postcopy" },
  on: { "coordinator.confirmRequested": asksAlready, ...operatorDecides },
  ...askingAgain,
  states: { ...askingAgain.states, undecided },
});

const killingFailedPostcopy = createStateConfig({
  description:
    "the destination has taken a guest that QEMU no longer serves: this copy is ended, then the destination is informed",
  meta: { phase: "perform3", guest: "held", libvirt: "postcopy" },
  on: {
    "coordinator.confirmRequested": ignoring("this copy is being ended"),
    "coordinator.confirmCancelledRequested": ignoring("this copy is being ended"),
    "process.exited": "conceding",
  },
  ...retrying(
    "killSource",
    [
      { guard: isDone, target: "#source.handover.conceding" },
      { guard: "outOfAttempts", target: "#source.stuck", actions: recordEffectFailure("killSource") },
    ],
    { as: "trying", input: () => null },
  ),
});

const yieldingTo = retrying(
  "concede",
  [
    { guard: answers("taken"), target: "#source.left" },
    { guard: answers("refused"), target: "#source.lost" },
    isUndecidable,
  ],
  {
    as: "asking",
    input: ({ context }) => ({
      identity: context.identity,
      fenced: fencedGuest(context),
    }),
  },
);

const conceding = createStateConfig({
  description: "this QEMU is dead; the destination takes the guest if its copy is complete",
  meta: { guest: "gone" },
  on: {
    "coordinator.confirmRequested": "#source.left",
    "operator.aborted": rejecting("the source's QEMU is dead"),
    "process.exited": knownAlready,
    "operator.adopted": rejecting("the source's QEMU is dead"),
    "operator.released": { target: "#source.left", actions: released },
  },
  ...yieldingTo,
  states: { ...yieldingTo.states, undecided },
});

export const handover = createStateConfig({
  description:
    "Finish and Confirm: the destination decides who runs the guest; this copy runs only when it refuses",
  meta: { group: true, phase: "perform3_done", guest: "still" },
  tags: ["pointOfNoReturn"],
  initial: "handedOver",
  on: {
    "coordinator.confirmRequested": ".killing",
    "coordinator.confirmCancelledRequested": asksAlready,
    "operator.aborted": pastReturn,
    "process.exited": { target: ".conceding", actions: "noteDied" },
  },
  states: { handedOver, killing, settling, settlingFailedPostcopy, killingFailedPostcopy, conceding },
});
