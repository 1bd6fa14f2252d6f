// The source's states before memory is sent: Begin, and the copies of the disks. Nothing has been asked of QEMU's
// migration, so that whatever goes wrong leaves the guest here, as it was.

import { assign } from "xstate";
import type { Deadlines } from "../../protocol/deadlines.js";
import { isDone, isFailed, present, recordEffectFailure } from "../shared/actions.js";
import { limits, watchdog } from "./regions.js";
import { aborted, createStateConfig, diskFailed, ending, givenUp, late } from "./setup.js";

const beginning = createStateConfig({
  description: "asks QEMU what guest this is and whether it can move",
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

/** What Perform, new limits, and a Perform that does not come do in Begin's result. */
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

const begun = createStateConfig({
  description: "the job is taken, the guest runs; Perform has not been asked",
  ...untilPerform("#source.stayed"),
  on: { ...untilPerform("#source.stayed").on, "operator.suspended": "suspended" },
});

const suspended = createStateConfig({
  description:
    "the job is taken, and the guest was suspended for the migration; it is resumed wherever the migration ends",
  ...untilPerform("#source.rollback.restoring"),
  on: {
    ...untilPerform("#source.rollback.restoring").on,
    "operator.aborted": { target: "#source.rollback.restoring", actions: aborted },
    "coordinator.confirmCancelledRequested": { target: "#source.rollback.restoring", actions: givenUp },
  },
});

const mirroring = createStateConfig({
  description: "the disks are copied while the guest runs, until the copies follow each of its writes",
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
          disks: present(context.guest, "Begin's answer").disks,
          prepared: present(context.prepared, "Prepare's answer"),
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
  description: "QEMU did not answer; if it is dead, that is told within moments, and nothing stayed",
  meta: { guest: "unsure", rehydratesAs: "beginning" },
  on: { "operator.aborted": ending, "coordinator.confirmCancelledRequested": ending },
  after: { cancel: "#source.stayed" },
});

export const preparing = createStateConfig({
  description: "Begin: the job is taken, and the disks are copied; the guest runs here",
  meta: { group: true, phase: "begin3", guest: "runs" },
  initial: "beginning",
  on: {
    "operator.aborted": { target: "stayed", actions: aborted },
    "coordinator.confirmCancelledRequested": { target: "stayed", actions: givenUp },
    "process.exited": { target: "lost", actions: "noteDied" },
  },
  states: { beginning, begun, suspended, mirroring, awaitingExit },
});
