// The coordinator of managed mode: Begin, Prepare, Perform, Finish, Confirm, and one outcome. No I/O: effects are
// bound in effects/bind.ts. It decides nothing about the guest: each side is safe without it (G1, G2).
//
// Theory of operation. Each state asks one side its step and continues with its answer. A step that fails, or an abort,
// leads to the same two questions with `cancelled`. A question without an answer is repeated a few times; each side
// answers from its own state, so asking twice is harmless, and when no answer comes the sides settle between
// themselves.
//
//   beginning -> preparing -> performing -> finishing -> confirming -> ended
//   any of them -> finishingCancelled -> confirmingCancelled -> ended

import { assign, emit } from "xstate";
import { byRootCause, failure } from "../../protocol/failure.js";
import type { SideReports } from "../../protocol/outcomes.js";
import { deriveOutcome } from "../../protocol/outcomes.js";
import {
  ignoring,
  initialCommonContext,
  isDone,
  present,
  recordFailure,
  rejecting,
} from "../shared/actions.js";
import { askingDestination, askingSource, createMachine, unanswered } from "./setup.js";

export type { CoordinatorInput, CoordinatorMemory, CoordinatorOutput } from "./setup.js";

const aborted = recordFailure(
  failure("aborted", "perform", "coordinator", { message: "aborted by the operator" }),
);
const tooLate = rejecting("the source has handed the guest over; the destination is being asked to run it");
const ending = ignoring("the migration is already being ended");

export const coordinatorMachine = createMachine({
  id: "coordinator",
  context: ({ input: { woken, ...input } }) => ({
    ...initialCommonContext(woken ?? null),
    guest: null,
    prepared: null,
    source: null,
    destination: null,
    ...input,
    ...woken?.memory,
  }),
  output: ({ context }) => {
    const heard: SideReports = {
      source: context.source?.outcome ?? null,
      destination: context.destination?.outcome ?? null,
      failures: byRootCause(context.failures),
    };
    const undone = [...(context.source?.undone ?? []), ...(context.destination?.undone ?? [])];
    return { ...heard, kind: deriveOutcome(heard), undone };
  },
  initial: "rehydrating",
  states: {
    beginning: {
      description: "Begin: the source acquires the job and describes its guest",
      on: {
        "operator.aborted": { target: "confirmingCancelled", actions: aborted },
      },
      invoke: {
        src: "askBegin",
        id: "askBegin",
        onDone: [
          {
            guard: isDone,
            target: "preparing",
            actions: assign(({ context, event }) =>
              event.output.kind === "done" ? { ...context, guest: event.output.value } : context,
            ),
          },
          {
            target: "confirmingCancelled",
            actions: { type: "noteAll", params: ({ event }) => unanswered("begin", event.output) },
          },
        ],
      },
    },
    preparing: {
      description: "Prepare: the destination starts QEMU and listens",
      on: { "operator.aborted": { target: "finishingCancelled", actions: aborted } },
      invoke: {
        src: "askPrepare",
        id: "askPrepare",
        input: ({ context }) => present(context.guest, "Begin's reply"),
        onDone: [
          {
            guard: isDone,
            target: "performing",
            actions: assign(({ context, event }) =>
              event.output.kind === "done" ? { ...context, prepared: event.output.value } : context,
            ),
          },
          {
            // Also sent after a failed Prepare, unlike in libvirt: it is harmless for a destination that has nothing
            // left.
            target: "finishingCancelled",
            actions: { type: "noteAll", params: ({ event }) => unanswered("prepare", event.output) },
          },
        ],
      },
    },
    performing: {
      description: "Perform: the source transfers the memory and hands the guest over",
      entry: "firstAttempt",
      invoke: {
        src: "askPerform",
        id: "askPerform",
        input: ({ context }) => present(context.prepared, "Prepare's reply"),
        onDone: [
          { guard: isDone, target: "finishing" },
          {
            target: "finishingCancelled",
            actions: { type: "noteAll", params: ({ event }) => unanswered("perform", event.output) },
          },
        ],
      },
      initial: "moving",
      states: {
        moving: {
          description: "waits for the source",
          on: { "operator.aborted": "aborting" },
        },
        aborting: {
          description: "passes the operator's abort to the source",
          meta: { rehydratesAs: "aborting" },
          entry: "countAttempt",
          on: { "operator.aborted": ending },
          invoke: {
            src: "askAbort",
            id: "askAbort",
            onDone: [
              {
                guard: ({ event }) => event.output.kind === "done" && event.output.value.accepted,
                target: "aborted",
              },
              {
                guard: ({ event }) => event.output.kind === "done",
                target: "moving",
                actions: emit(({ event }) => ({
                  type: "refused",
                  event: "operator.aborted",
                  why: event.output.kind === "done" ? event.output.value.why : "",
                })),
              },
              { target: "abortWaiting" },
            ],
          },
        },
        abortWaiting: {
          description: "the source has not received the abort yet",
          meta: { rehydratesAs: "aborting" },
          on: { "operator.aborted": ending },
          after: { backoff: "aborting" },
        },
        aborted: {
          description: "the source is ending the migration; Perform's reply follows",
          meta: { rehydratesAs: "aborting" },
          on: { "operator.aborted": ending },
        },
      },
    },
    finishing: {
      description: "Finish: the destination takes and resumes the guest",
      on: { "operator.aborted": tooLate },
      ...askingDestination("askFinish", {
        arrived: "#coordinator.confirming",
        // The guest has not arrived, or the answer is missing: the source asks the destination itself before it acts.
        otherwise: "#coordinator.confirmingCancelled",
      }),
    },
    confirming: {
      description: "Confirm: the source ends its copy, the destination has the guest",
      on: { "operator.aborted": tooLate },
      ...askingSource("askConfirm"),
    },
    ended: { type: "final", description: "one outcome, derived from both sides' reports" },
    finishingCancelled: {
      description: "Finish with cancelled: the destination ends its copy",
      on: { "operator.aborted": ending },
      ...askingDestination("askFinishCancelled", {
        arrived: "#coordinator.confirmingCancelled",
        otherwise: "#coordinator.confirmingCancelled",
      }),
    },
    confirmingCancelled: {
      description:
        "Confirm with cancelled: the source settles with the destination, then resumes or ends its copy",
      on: { "operator.aborted": ending },
      ...askingSource("askConfirmCancelled"),
    },
    rehydrating: {
      description: "begins, or continues in the state of the restarted engine",
      always: [
        { guard: { type: "wokeIn", params: "performing.abort" }, target: "#coordinator.performing.aborting" },
        { guard: { type: "wokeIn", params: "finishingCancelled" }, target: "finishingCancelled" },
        { guard: { type: "wokeIn", params: "finishing" }, target: "finishing" },
        { guard: { type: "wokeIn", params: "confirmingCancelled" }, target: "confirmingCancelled" },
        { guard: { type: "wokeIn", params: "confirming" }, target: "confirming" },
        { guard: { type: "wokeIn", params: "ended" }, target: "ended" },
        // Each side answers from its state, so a question can safely be repeated.
        { target: "beginning" },
      ],
      on: { "operator.aborted": ending },
    },
  },
});
