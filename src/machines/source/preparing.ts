// The source's states before memory is transferred: Begin, and the disk mirrors. QEMU's migration has not been
// started, so every failure leaves the guest here, unchanged.

import { assign } from "xstate";
import type { Deadlines } from "../../protocol/deadlines.js";
import { isDone, isFailed, present, recordEffectFailure } from "../shared/actions.js";
import { limits, watchdog } from "./regions.js";
import { aborted, createStateConfig, diskFailed, ending, givenUp, late } from "./setup.js";

const beginning = createStateConfig({
  description: "asks QEMU which guest this is and whether it can be migrated",
  invoke: {
    src: "describe",
    id: "describe",
    onDone: [
      {
        guard: isDone,
        target: "begun",
        actions: assign(({ context, event }) =>
          event.output.kind === "done" ? { ...context, ...event.output.value } : context,
        ),
      },
      { guard: isFailed, target: "#source.stayed", actions: recordEffectFailure("describe") },
      { target: "awaitingExit", actions: recordEffectFailure("describe") },
    ],
  },
});

/** Transitions shared by the two states that wait for Perform: Perform, new limits, and the deadline. */
const untilPerform = <const End extends "#source.stayed" | "#source.rollback.restoring">(end: End) =>
  ({
    on: {
      "coordinator.performRequested": [
        { guard: "copiesDisks", target: "mirroring", actions: "takePrepared" },
        { target: "#source.transferring", actions: "takePrepared" },
      ],
      "operator.tuned": { actions: "takeLimits" },
    },
    after: {
      performRequested: {
        target: end,
        actions: {
          type: "note",
          params: ({ context }: { context: { deadlines: Deadlines } }) =>
            late("Perform", context.deadlines.performRequestedMs),
        },
      },
    },
  }) as const;

const unsuspended = untilPerform("#source.stayed");
const begun = createStateConfig({
  description: "the job is acquired and the guest runs; waits for Perform",
  ...unsuspended,
  on: { ...unsuspended.on, "operator.suspended": "suspended" },
});

const toBeResumed = untilPerform("#source.rollback.restoring");
const suspended = createStateConfig({
  description:
    "the job is acquired, and the guest was suspended for the migration; it resumes on the side where the migration ends",
  ...toBeResumed,
  on: {
    ...toBeResumed.on,
    "operator.aborted": { target: "#source.rollback.restoring", actions: aborted },
    "coordinator.confirmCancelledRequested": { target: "#source.rollback.restoring", actions: givenUp },
  },
});

const mirroring = createStateConfig({
  description: "the disks are mirrored while the guest runs, until the mirrors are in sync",
  meta: { phase: "perform3" },
  type: "parallel",
  on: {
    "monitor.mirrored": "#source.transferring",
    "monitor.mirrorFailed": { target: "#source.rollback.restoring", actions: "noteMirrorFailed" },
    "monitor.diskFailed": {
      target: "#source.rollback.restoring",
      actions: [diskFailed, { type: "takeGuestWas", params: { guestWas: "paused" } }],
    },
    "monitor.suspended": { actions: { type: "takeGuestWas", params: { guestWas: "paused" } } },
    "monitor.resumed": { actions: { type: "takeGuestWas", params: { guestWas: "running" } } },
    "operator.aborted": { target: "#source.rollback.restoring", actions: aborted },
    "coordinator.confirmCancelledRequested": { target: "#source.rollback.restoring", actions: givenUp },
  },
  states: {
    copying: {
      entry: "tellLimits",
      invoke: {
        src: "mirror",
        id: "mirror",
        input: ({ context }) => ({
          disks: present(context.guest, "Begin's reply").disks,
          prepared: present(context.prepared, "Prepare's reply"),
          limits: context.limits,
        }),
        onDone: [
          { guard: isDone },
          { target: "#source.rollback.restoring", actions: recordEffectFailure("mirror") },
        ],
      },
    },
    limits,
    watchdog: watchdog("#source.rollback.restoring"),
  },
});

const awaitingExit = createStateConfig({
  description:
    "QEMU did not answer; if it is dead, its exit is reported within moments, and the guest is lost",
  meta: { guest: "unsure", rehydratesAs: "beginning" },
  on: { "operator.aborted": ending, "coordinator.confirmCancelledRequested": ending },
  after: { cancel: "#source.stayed" },
});

export const preparing = createStateConfig({
  description: "Begin: the job is acquired and the disks are mirrored; the guest runs here",
  meta: { group: true, phase: "begin3", guest: "runs" },
  initial: "beginning",
  on: {
    "operator.aborted": { target: "stayed", actions: aborted },
    "coordinator.confirmCancelledRequested": { target: "stayed", actions: givenUp },
    "process.exited": { target: "lost", actions: "noteDied" },
  },
  states: { beginning, begun, suspended, mirroring, awaitingExit },
});
