// The source's states while QEMU sends the guest: pre-copy, then the switchover with the guest stopped. The guest
// still belongs to the source. Upholds G4: when the end of the stream was not observed, no side treats its copy as
// complete.

import { mayThrottle } from "../../protocol/convergence/policy.js";
import { failure } from "../../protocol/failure.js";
import { answers, isDone, present, recordEffectFailure, recordFailure } from "../shared/actions.js";
import { convergence } from "./convergence.js";
import { limits, postcopy, watchdog } from "./regions.js";
import {
  aborted,
  copiesDisks,
  createStateConfig,
  diskFailed,
  givenUp,
  knownAlready,
  late,
  type SourceContext,
  switchoverMs,
  toInquire,
} from "./setup.js";

const cancelledElsewhere = recordFailure(
  failure("aborted", "perform", "source", { message: "QEMU's migration was cancelled externally" }),
);
const resumedItself = recordFailure(
  failure("qemu", "perform", "source", {
    message: "the guest was resumed at the source during the switchover",
  }),
);
const failedMeanwhile = recordFailure(
  failure("qemu", "perform", "source", { message: "QEMU's migration ended while the engine was down" }),
);

const cancelling = "#source.rollback.aborting.cancelling";

const starting = createStateConfig({
  description: "capabilities and limits are set, `migrate` is sent; the guest runs",
  entry: "tellLimits",
  invoke: {
    src: "start",
    id: "start",
    input: ({ context }) => ({
      identity: context.identity,
      guest: present(context.guest, "Begin's reply"),
      prepared: present(context.prepared, "Prepare's reply"),
      limits: context.limits,
      mayThrottle: mayThrottle(context.convergence),
    }),
    onDone: [
      {
        guard: ({ context, event }) => isDone({ event }) && context.limits !== context.limitsTold,
        target: "precopying.limits.applying",
      },
      { guard: isDone, target: "precopying" },
      { target: cancelling, actions: recordEffectFailure("start") },
    ],
  },
  on: { "operator.tuned": { actions: "takeLimits" } },
});

const precopying = createStateConfig({
  description: "memory is transferred while the guest runs; a watchdog requires progress",
  type: "parallel",
  states: { convergence, limits, watchdog: watchdog(cancelling), postcopy },
});

const probing = createStateConfig({
  description: "the engine was restarted during the transfer: QEMU's state is queried",
  meta: { guest: "unsure" },
  invoke: {
    src: "probeSource",
    id: "probeSource",
    input: ({ context }) => toInquire(context),
    onDone: [
      { guard: answers("sending"), target: "precopying.limits.applying" },
      { guard: answers("stopped"), target: "#source.transferring.stopped" },
      {
        guard: ({ context, event }) => answers("preSwitchover")({ event }) && copiesDisks(context),
        target: "#source.transferring.stopped.completingMirrors",
      },
      { guard: answers("preSwitchover"), target: "#source.transferring.stopped.switchingOver" },
      { guard: answers("postcopy"), target: "#source.postcopy" },
      { guard: answers("broken"), target: "#source.postcopy.reconnecting" },
      { guard: answers("completed"), target: "#source.handover" },
      { guard: answers("none"), target: "starting" },
      { guard: answers("cancelling"), target: cancelling, actions: failedMeanwhile },
      { guard: isDone, target: "#source.rollback.restoring", actions: failedMeanwhile },
      { target: cancelling, actions: recordEffectFailure("probeSource") },
    ],
  },
  on: {
    // The end was not observed: the guest may have resumed here after the destination had it complete (G4).
    "process.exited": { target: "#source.rollback.reportingLoss", actions: "noteDied" },
  },
});

const sending = createStateConfig({
  description: "the guest runs, unless its user has paused it",
  meta: { group: true, guest: "runs" },
  initial: "starting",
  on: {
    "monitor.stopped": "stopped",
    "monitor.suspended": { actions: { type: "takeGuestWas", params: { guestWas: "paused" } } },
    "monitor.resumed": { actions: { type: "takeGuestWas", params: { guestWas: "running" } } },
    // The guest stops for the error, and stays stopped on either side.
    "monitor.diskFailed": {
      target: cancelling,
      actions: [diskFailed, { type: "takeGuestWas", params: { guestWas: "paused" } }],
    },
  },
  states: { starting, precopying, probing },
});

const tooLong = {
  target: cancelling,
  actions: {
    type: "note",
    params: ({ context }: { context: SourceContext }) => late("QEMU's completed", switchoverMs(context)),
  },
} as const;

const pausing = createStateConfig({
  description: "the guest is stopped; QEMU sends the rest, or waits in pre-switchover for migrate-continue",
  after: { switchover: tooLong },
});

const completingMirrors = createStateConfig({
  description: "the guest is stopped: its disk mirrors reach sync and are completed",
  invoke: {
    src: "completeMirrors",
    id: "completeMirrors",
    onDone: [
      { guard: isDone, target: "switchingOver" },
      { target: cancelling, actions: recordEffectFailure("completeMirrors") },
    ],
  },
  on: { "monitor.preSwitchover": knownAlready },
  after: { switchover: tooLong },
});

const switchingOver = createStateConfig({
  description: "QEMU sends the device state; the migration can be cancelled until QEMU reports completed",
  invoke: {
    src: "continue",
    id: "continue",
    onDone: [{ guard: isDone }, { target: cancelling, actions: recordEffectFailure("continue") }],
  },
  on: { "monitor.preSwitchover": knownAlready },
  after: { switchover: tooLong },
});

const stopped = createStateConfig({
  description: "the guest is stopped for the switchover",
  meta: { group: true, guest: "still", libvirt: "migration" },
  initial: "pausing",
  on: {
    // QEMU resumes the guest by itself when it abandons the migration; from then on this copy is ahead of the
    // destination's.
    "monitor.resumed": { target: cancelling, actions: resumedItself },
  },
  states: { pausing, completingMirrors, switchingOver },
});

export const transferring = createStateConfig({
  description: "Perform: QEMU sends the guest, first while it runs, then while it is stopped",
  meta: { group: true, phase: "perform3", rehydratesAs: "probing" },
  initial: "sending",
  on: {
    // At the gate, with the guest stopped: the disk mirrors are completed first, so that the destination's disks are
    // complete (G4).
    "monitor.preSwitchover": [
      { guard: "copiesDisks", target: ".stopped.completingMirrors" },
      { target: ".stopped.switchingOver" },
    ],
    "monitor.completed": "handover",
    "monitor.postcopy": "postcopy",
    "monitor.postcopyPaused": "#source.postcopy.reconnecting",
    "monitor.mirrorFailed": { target: cancelling, actions: "noteMirrorFailed" },
    "monitor.failed": { target: "#source.rollback.restoring", actions: "noteFailed" },
    "monitor.cancelled": { target: "#source.rollback.restoring", actions: cancelledElsewhere },
    "operator.aborted": { target: cancelling, actions: aborted },
    "coordinator.confirmCancelledRequested": { target: cancelling, actions: givenUp },
    "process.exited": { target: "#source.handover.conceding", actions: "noteDied" },
  },
  states: { sending, stopped },
});
