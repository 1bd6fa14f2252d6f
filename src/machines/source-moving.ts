// The source's states while the guest is its own: from Begin through pre-copy to the switchover.
// Upholds G4: when nobody has heard how the stream ended, its copy is not taken for whole anywhere.

import { assign } from "xstate";
import { mayThrottle } from "../protocol/convergence-policy.js";
import { type Failure, failure } from "../protocol/failures.js";
import { answers, deadlineCause, isDone, isFailed, noteEffect, noteThat, present, woke } from "./habits.js";
import { convergence } from "./source-converging.js";
import { limits, postcopy, watchdog } from "./source-regions.js";
import {
  aborted,
  copiesDisks,
  createStateConfig,
  givenUp,
  knownAlready,
  type SourceContext,
  switchoverMs,
  toInquire,
} from "./source-setup.js";
import { lostHere } from "./source-staying.js";

const late = (waitedFor: string, ms: number): Failure =>
  failure("deadline", "perform", "source", deadlineCause(waitedFor, ms));
const cancelledElsewhere = noteThat(
  failure("aborted", "perform", "source", { message: "QEMU's migration was cancelled, but not by us" }),
);
const resumedItself = noteThat(
  failure("qemu", "perform", "source", {
    message: "the guest was resumed at the source while it was being handed over",
  }),
);
const failedMeanwhile = noteThat(
  failure("qemu", "perform", "source", { message: "QEMU's migration ended while the engine was down" }),
);

const diskFailed = noteThat(
  failure("disk", "perform", "source", {
    message: "a disk of the guest has an I/O error, and the migration is to be aborted on one",
  }),
);

const tooLong = {
  target: "cancelling",
  actions: {
    type: "note",
    params: ({ context }: { context: SourceContext }) => late("QEMU's completed", switchoverMs(context)),
  },
} as const;

/** At the gate, with the guest stopped: the copies of its disks are ended first, so that the disks are whole there (G4). */
const atTheGate = [{ guard: "copiesDisks", target: "endingMirrors" }, { target: "switchingOver" }] as const;

/** While QEMU's migration is under way: how it can go on, end, or be stopped by someone. */
const underWay = {
  "monitor.preSwitchover": atTheGate,
  "monitor.mirrorFailed": { target: "cancelling", actions: "noteMirrorFailed" },
  "monitor.postcopy": "handingOver",
  "monitor.postcopyPaused": "reconnecting",
  "monitor.completed": "handedOver",
  "monitor.failed": { target: "restoring", actions: "noteFailed" },
  "monitor.cancelled": { target: "restoring", actions: cancelledElsewhere },
  "person.aborted": { target: "cancelling", actions: aborted },
  "coordinator.confirmCancelledAsked": { target: "cancelling", actions: givenUp },
  "process.exited": { target: "yielding", actions: "noteDied" },
} as const;

/** While the guest runs, unless somebody has paused it. */
const sending = {
  ...underWay,
  "monitor.stopped": "pausing",
  "monitor.suspended": { actions: { type: "takeGuestWas", params: { guestWas: "paused" } } },
  "monitor.resumed": { actions: { type: "takeGuestWas", params: { guestWas: "running" } } },
  // It stops for it, and stays so wherever it is.
  "monitor.diskFailed": {
    target: "cancelling",
    actions: [diskFailed, { type: "takeGuestWas", params: { guestWas: "paused" } }],
  },
} as const;

/** While the guest is stopped for the switchover. */
const stopped = {
  ...underWay,
  // QEMU lets the guest go on by itself when it gives up; from then on this copy is ahead of the destination's.
  "monitor.resumed": { target: "cancelling", actions: resumedItself },
} as const;

/** Before anything was begun with QEMU: nothing is to be undone. */
const untouched = {
  "person.aborted": { target: "stayed", actions: aborted },
  "coordinator.confirmCancelledAsked": { target: "stayed", actions: givenUp },
  "process.exited": { target: "lost", actions: "noteDied" },
} as const;

export const waking = createStateConfig({
  description: "begins, or goes on where the engine was when it was restarted",
  always: [
    woke("begun", "begun"),
    woke("mirroring", "mirroring"),
    woke("recovering", "starting", "precopying", "pausing", "endingMirrors", "switchingOver", "recovering"),
    woke("reviving", "handingOver", "serving", "reconnecting", "reviving"),
    woke("stranded", "stranded"),
    woke("askingBack", "askingBack"),
    woke("abandoning", "abandoning"),
    woke("handedOver", "handedOver"),
    woke("settling", "settling"),
    woke("yielding", "yielding"),
    woke("killing", "killing"),
    woke("cancelling", "cancelling", "rescuing"),
    woke("restoring", "restoring"),
    woke("unmirroring", "unmirroring"),
    woke("takingBack", "takingBack"),
    woke("losing", "losing"),
    woke("tellingStuck", "tellingStuck"),
    woke("left", "left"),
    woke("stayed", "stayed"),
    woke("lost", "lost"),
    woke("stuck", "stuck"),
    { target: "beginning" },
  ],
});

export const recovering = createStateConfig({
  description: "the engine was restarted in the middle of the move: QEMU is asked how far it is",
  meta: { phase: "perform3" },
  invoke: {
    src: "inquireSource",
    id: "inquireSource",
    input: ({ context }) => toInquire(context),
    onDone: [
      { guard: answers("sending"), target: "#source.precopying.limits.telling" },
      { guard: answers("stopped"), target: "pausing" },
      {
        guard: ({ context, event }) => answers("preSwitchover")({ event }) && copiesDisks(context),
        target: "endingMirrors",
      },
      { guard: answers("preSwitchover"), target: "switchingOver" },
      { guard: answers("postcopy"), target: "handingOver" },
      { guard: answers("broken"), target: "reconnecting" },
      { guard: answers("completed"), target: "handedOver" },
      { guard: answers("none"), target: "starting" },
      { guard: answers("cancelling"), target: "cancelling", actions: failedMeanwhile },
      { guard: isDone, target: "restoring", actions: failedMeanwhile },
      { target: "cancelling", actions: noteEffect("inquireSource") },
    ],
  },
  on: {
    ...sending,
    // Nobody has heard how it ended: its guest may have gone on after the destination had it whole (G4).
    "process.exited": lostHere,
  },
});

export const beginning = createStateConfig({
  description: "asks QEMU what guest this is and whether it can move",
  meta: { phase: "begin3" },
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
      { guard: isFailed, target: "stayed", actions: noteEffect("describe") },
      { target: "doubting", actions: noteEffect("describe") },
    ],
  },
  on: untouched,
});

export const doubting = createStateConfig({
  description: "QEMU did not answer; if it is dead, that is told within moments, and nothing stayed",
  meta: { phase: "begin3" },
  on: { "process.exited": { target: "lost", actions: "noteDied" } },
  after: { cancel: "stayed" },
});

export const begun = createStateConfig({
  description: "the job is taken, the guest runs; Perform has not been asked",
  meta: { phase: "begin3" },
  on: {
    ...untouched,
    "coordinator.performAsked": [
      { guard: "copiesDisks", target: "mirroring", actions: "takePrepared" },
      { target: "starting", actions: "takePrepared" },
    ],
    "person.tuned": { actions: "takeLimits" },
  },
  after: {
    performAsked: {
      target: "stayed",
      actions: {
        type: "note",
        params: ({ context }) => late("Perform", context.deadlines.performAskedMs),
      },
    },
  },
});

export const mirroring = createStateConfig({
  description: "the disks are copied while the guest runs, until the copies follow each of its writes",
  meta: { phase: "perform3" },
  type: "parallel",
  on: {
    "monitor.mirrored": "starting",
    "monitor.mirrorFailed": { target: "restoring", actions: "noteMirrorFailed" },
    "monitor.diskFailed": {
      target: "restoring",
      actions: [diskFailed, { type: "takeGuestWas", params: { guestWas: "paused" } }],
    },
    "monitor.suspended": { actions: { type: "takeGuestWas", params: { guestWas: "paused" } } },
    "monitor.resumed": { actions: { type: "takeGuestWas", params: { guestWas: "running" } } },
    "person.aborted": { target: "restoring", actions: aborted },
    "coordinator.confirmCancelledAsked": { target: "restoring", actions: givenUp },
    "process.exited": { target: "lost", actions: "noteDied" },
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
        onDone: [{ guard: isDone }, { target: "#source.restoring", actions: noteEffect("mirror") }],
      },
    },
    limits,
    watchdog: watchdog("#source.restoring"),
  },
});

export const starting = createStateConfig({
  description: "capabilities and limits are set, `migrate` is sent; the guest runs",
  meta: { phase: "perform3" },
  entry: "tellLimits",
  invoke: {
    src: "start",
    id: "start",
    input: ({ context }) => ({
      identity: context.identity,
      guest: present(context.guest, "Begin's answer"),
      prepared: present(context.prepared, "Prepare's answer"),
      limits: context.limits,
      mayThrottle: mayThrottle(context.convergence),
    }),
    onDone: [
      {
        guard: ({ context, event }) => isDone({ event }) && context.limits !== context.limitsTold,
        target: "#source.precopying.limits.telling",
      },
      { guard: isDone, target: "precopying" },
      { target: "cancelling", actions: noteEffect("start") },
    ],
  },
  on: { ...sending, "person.tuned": { actions: "takeLimits" } },
});

export const precopying = createStateConfig({
  description: "memory flows while the guest runs; a watchdog wants progress",
  meta: { phase: "perform3" },
  type: "parallel",
  on: sending,
  states: { convergence, limits, watchdog: watchdog("#source.cancelling"), postcopy },
});

export const pausing = createStateConfig({
  description: "the guest is stopped; QEMU sends the rest, or waits in pre-switchover to be let on",
  meta: { phase: "perform3" },
  on: stopped,
  after: { switchover: tooLong },
});

export const endingMirrors = createStateConfig({
  description: "the guest is stopped, so the copies of its disks become equal, and are let go of",
  meta: { phase: "perform3" },
  invoke: {
    src: "endMirrors",
    id: "endMirrors",
    onDone: [
      { guard: isDone, target: "switchingOver" },
      { target: "cancelling", actions: noteEffect("endMirrors") },
    ],
  },
  on: { ...stopped, "monitor.preSwitchover": knownAlready },
  after: { switchover: tooLong },
});

export const switchingOver = createStateConfig({
  description: "QEMU sends the device state; it can still be cancelled until it says completed",
  meta: { phase: "perform3" },
  invoke: {
    src: "continue",
    id: "continue",
    onDone: [{ guard: isDone }, { target: "cancelling", actions: noteEffect("continue") }],
  },
  on: { ...stopped, "monitor.preSwitchover": knownAlready },
  after: { switchover: tooLong },
});
