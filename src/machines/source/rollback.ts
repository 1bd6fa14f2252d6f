// The source's states on the way back: the migration is cancelled, and the guest made to run as before.

import type { EffectName } from "../../protocol/steps.js";
import { answers, isDone, recordEffectFailure } from "../shared/actions.js";
import { copiesDisks, createStateConfig, knownAlready, retrying, toCancel } from "./setup.js";

const outOfAttempts = (name: EffectName) =>
  ({
    guard: "outOfAttempts",
    target: "#source.rollback.reportingStuck",
    actions: recordEffectFailure(name),
  }) as const;

const cancelling = createStateConfig({
  description: "the migration is being cancelled; QEMU may still end it as completed",
  invoke: {
    src: "cancel",
    id: "cancel",
    input: ({ context }) => toCancel(context),
    onDone: [
      { guard: answers("completed"), target: "#source.handover" },
      { guard: answers("broken"), target: "#source.postcopy.reconnecting" },
      { guard: isDone, target: "#source.rollback.restoring" },
      { target: "rescuing" },
    ],
  },
  after: { cancel: "rescuing" },
});

const rescuing = createStateConfig({
  description: "the cancel hangs; QEMU is freed from outside",
  meta: { rehydratesAs: "cancelling" },
  ...retrying(
    "forceCancel",
    [
      { guard: answers("completed"), target: "#source.handover" },
      { guard: answers("broken"), target: "#source.postcopy.reconnecting" },
      { guard: isDone, target: "#source.rollback.restoring" },
      outOfAttempts("forceCancel"),
    ],
    { as: "trying", input: ({ context }) => toCancel(context) },
  ),
});

const aborting = createStateConfig({
  description: "QEMU's migration is being ended; however it ends, it may still be as completed",
  meta: { group: true, phase: "perform3", guest: "unsure" },
  initial: "cancelling",
  on: {
    "monitor.completed": "#source.handover",
    "monitor.failed": "restoring",
    "monitor.cancelled": "restoring",
    // A cancelled QEMU lets its guest go on before it says so: the destination's copy may be stale.
    "monitor.resumed": "restoring",
    // QEMU neither runs its guest nor ends then: the only way is on.
    "monitor.postcopyPaused": "#source.postcopy.reconnecting",
  },
  states: { cancelling, rescuing },
});

const restored = {
  type: "undo",
  params: { what: "the source let the guest go on and put QEMU's migration settings back" },
} as const;

const restoresAgain = retrying(
  "restore",
  [
    {
      guard: ({ context, event }) => isDone({ event }) && copiesDisks(context),
      target: "#source.rollback.cancellingMirrors",
      actions: restored,
    },
    { guard: isDone, target: "#source.rollback.retractingPostcopy", actions: restored },
    { guard: "isAnnounced", target: "releasing" },
    outOfAttempts("restore"),
  ],
  {
    as: "trying",
    input: ({ context }) => ({
      guestWas: context.guest?.guestWas ?? "running",
      settings: context.settings,
      // Until it is told that the guest stays, a destination in post-copy does not let go of the disks.
      awaitsDisks: context.postcopy !== "announced",
    }),
  },
);

const restoring = createStateConfig({
  description: "the guest is made to run as before; QEMU's migration settings are put back",
  meta: { guest: "unsure" },
  ...restoresAgain,
  states: {
    ...restoresAgain.states,
    // A destination in post-copy may hold the locks of the disks: it ends its copy when it knows that it never gets the guest.
    releasing: {
      invoke: {
        src: "retractPostcopy",
        id: "retractPostcopy",
        input: ({ context }) => context.identity,
        onDone: [{ guard: isDone, target: "waiting", actions: "noteRetracted" }, { target: "waiting" }],
      },
    },
  },
});

const unmirrored = {
  type: "undo",
  params: { what: "the source ended the copies of the guest's disks" },
} as const;

const cancellingMirrors = createStateConfig({
  description: "the guest is as before; what is left of the copies of its disks is ended",
  meta: { guest: "runs" },
  tags: ["restored"],
  ...retrying(
    "cancelMirrors",
    [
      { guard: isDone, target: "#source.rollback.retractingPostcopy", actions: unmirrored },
      // The guest runs: what is left of its copies ends with their connection.
      {
        guard: "outOfAttempts",
        target: "#source.rollback.retractingPostcopy",
        actions: recordEffectFailure("cancelMirrors"),
      },
    ],
    { as: "trying" },
  ),
});

/** A destination that has been told of post-copy hears from nobody else that it never gets the guest. */
const retractPostcopy = <const End extends "#source.stayed" | "#source.lost" | "#source.stuck">(end: End) => {
  const asking = retrying("retractPostcopy", [{ guard: isDone, target: end }], {
    as: "asking",
    initial: "hearing",
    input: ({ context }) => context.identity,
  });
  const hearing = { always: [{ guard: "isAnnounced", target: "asking" }, { target: end }] } as const;
  return { ...asking, states: { hearing, ...asking.states } } as const;
};

const retractingPostcopy = createStateConfig({
  description: "the guest is as before; a destination that has been told of post-copy is told that it stays",
  meta: { guest: "runs" },
  tags: ["restored"],
  ...retractPostcopy("#source.stayed"),
});

const reportingLoss = createStateConfig({
  description: "this QEMU is dead; a destination that has been told of post-copy is told that nothing comes",
  meta: { guest: "lost" },
  on: { "process.exited": knownAlready },
  ...retractPostcopy("#source.lost"),
});

const reportingStuck = createStateConfig({
  description:
    "QEMU no longer responds; a destination to which post-copy was announced is notified that no guest follows",
  meta: { guest: "stuck" },
  ...retractPostcopy("#source.stuck"),
});

export const rollback = createStateConfig({
  description: "QEMU's migration is cancelled, and the guest made to run here as before",
  meta: { group: true, phase: "confirm3_cancelled" },
  initial: "aborting",
  on: { "process.exited": { target: ".reportingLoss", actions: "noteDied" } },
  states: { aborting, restoring, cancellingMirrors, retractingPostcopy, reportingLoss, reportingStuck },
});
