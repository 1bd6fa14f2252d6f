// The source's states in post-copy: the destination takes the guest, and this QEMU serves the memory that is missing
// there. Upholds G1 and G3: once the handover has been requested, only a refusal leads back to a guest that runs
// here.

import { failure } from "../../protocol/failure.js";
import type { Reconnection } from "../../protocol/messages.js";
import { answers, ignoring, isDone, isFailed, present, recordFailure } from "../shared/actions.js";
import { retryingIn } from "../shared/retry.js";
import {
  adopted,
  createStateConfig,
  fencedGuest,
  indifferent,
  isUndecidable,
  knownAlready,
  pastReturn,
  refusedInPostcopy,
  released,
  retrying,
  type SourceContext,
  toInquire,
  undecided,
} from "./setup.js";

const lostThere = recordFailure(
  failure("died", "perform", "destination", {
    message:
      "the destination lost the guest in post-copy; the remaining copy is from the switch to post-copy, and QEMU cannot run it any more",
  }),
);

const heldHere = recordFailure(
  failure("qemu", "perform", "source", {
    message:
      "QEMU has sent everything over a lost connection and does not close it; the memory that was under way is lost",
  }),
);

const handOver = retrying(
  "handOver",
  [
    { guard: answers("taken"), target: "#source.postcopy.serving" },
    {
      guard: answers("refused"),
      target: "#source.rollback.aborting.cancelling",
      actions: refusedInPostcopy,
    },
    isUndecidable,
  ],
  { as: "asking", input: ({ context }) => context.identity },
);

const handingOver = createStateConfig({
  description: "point of no return: QEMU is in post-copy, and the destination is asked to take the guest",
  meta: { guest: "still" },
  on: {
    "monitor.postcopy": knownAlready,
    "operator.adopted": { target: "#source.rollback.aborting.cancelling", actions: adopted },
    "operator.released": { target: "#source.handover.killing", actions: released },
  },
  ...handOver,
  states: { ...handOver.states, undecided },
});

const serving = createStateConfig({
  description: "the guest runs at the destination, and its missing memory is served from here",
  meta: { guest: "held" },
  initial: "watching",
  states: {
    watching: {
      description: "drops the connection when no data is transferred for the stall limit",
      on: {
        "monitor.progressed": [
          { guard: "moved", target: "watching", reenter: true, actions: "takeProgress" },
          { actions: "takeProgress" },
        ],
      },
      after: { stall: "breaking" },
    },
    breaking: {
      description: "the connection is dropped, to be re-established",
      invoke: {
        src: "pausePostcopy",
        id: "pausePostcopy",
        onDone: [
          // The connection broke as the stream ended, and QEMU hangs there: the destination knows whether it has all
          // memory.
          { guard: isFailed, target: "#source.postcopy.reconnecting" },
          { target: "watching" },
        ],
      },
    },
  },
  on: { "monitor.postcopy": indifferent },
});

const asking = retryingIn<SourceContext, Reconnection>()(
  "reconnect",
  [
    { guard: answers("arrived"), target: "#source.handover.killing" },
    // The destination has all memory; only the handover is left.
    { guard: answers("whole"), target: "#source.postcopy.handingOver" },
    { guard: answers("lost"), target: "#source.lost", actions: lostThere },
    {
      guard: isDone,
      target: "resuming",
      actions: { type: "takeReconnection", params: ({ event }) => event.output },
    },
  ],
  { as: "asking", input: ({ context }) => context.identity },
);

const reconnecting = createStateConfig({
  description: "post-copy has lost its connection: neither side can continue alone, so it is re-established",
  meta: { guest: "held", libvirt: "postcopyFailed" },
  on: { "monitor.postcopyPaused": ".waiting" },
  ...asking,
  states: {
    ...asking.states,
    resuming: {
      description: "QEMU is connecting to the new address",
      invoke: {
        src: "resumePostcopy",
        id: "resumePostcopy",
        input: ({ context }) => present(context.reconnection, "the address for the new connection"),
        onDone: [
          { guard: answers("connecting"), target: "connecting" },
          // QEMU may be connected, or become so later.
          { guard: ({ event }) => !answers("held")({ event }), target: "waiting" },
          { guard: "outOfAttempts", target: "#source.postcopy.stranded", actions: heldHere },
          { target: "waiting" },
        ],
      },
    },
    connecting: {
      description: "QEMU and its peer determine which memory is missing",
      after: { reconnect: "waiting" },
    },
  },
});

const stranded = createStateConfig({
  description:
    "the destination lost its connection, and QEMU does not close it here: the guest is lost, and the destination is informed",
  meta: { guest: "held", libvirt: "postcopyFailed", rehydratesAs: "stranded" },
  ...retrying("concede", [{ guard: isDone, target: "#source.lost", actions: lostThere }], {
    as: "asking",
    input: ({ context }) => ({ identity: context.identity, fenced: fencedGuest(context) }),
  }),
});

const probingPostcopy = createStateConfig({
  description: "the engine was restarted in post-copy: QEMU's state is queried",
  meta: { guest: "unsure" },
  ...retrying(
    "probeSource",
    [
      { guard: answers("postcopy"), target: "#source.postcopy.handingOver" },
      { guard: answers("broken"), target: "#source.postcopy.reconnecting" },
      { guard: answers("completed"), target: "#source.handover" },
      { guard: isDone, target: "#source.handover.settlingFailedPostcopy" },
    ],
    {
      as: "asking",
      input: ({ context }) => toInquire(context),
    },
  ),
});

const followsLater = ignoring("the answer follows when all memory has arrived");

export const postcopy = createStateConfig({
  description: "Perform, past the point of no return: the guest runs at the destination, or is about to",
  meta: { group: true, phase: "perform3", libvirt: "postcopy", rehydratesAs: "probingPostcopy" },
  tags: ["pointOfNoReturn"],
  initial: "handingOver",
  on: {
    "monitor.completed": "handover",
    "monitor.postcopy": ".handingOver",
    "monitor.postcopyPaused": ".reconnecting",
    // QEMU abandons post-copy by itself, and may resume its guest: the destination answers whether it has taken it.
    "monitor.failed": { target: "#source.handover.settlingFailedPostcopy", actions: "noteFailed" },
    "monitor.resumed": "#source.handover.settlingFailedPostcopy",
    "monitor.cancelled": "#source.handover.settlingFailedPostcopy",
    "coordinator.confirmRequested": followsLater,
    "coordinator.confirmCancelledRequested": followsLater,
    "operator.aborted": pastReturn,
    "operator.postcopyRequested": ignoring("the migration is already in post-copy"),
    "process.exited": { target: "#source.handover.conceding", actions: "noteDied" },
  },
  states: { handingOver, serving, reconnecting, stranded, probingPostcopy },
});
