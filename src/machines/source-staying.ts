// The source's states on the way back: the migration is cancelled, and the guest made to run as before.

import type { EffectName } from "../protocol/steps.js";
import { answers, isDone, noteEffect } from "./habits.js";
import {
  copiesDisks,
  createStateConfig,
  knownAlready,
  type SourceContext,
  toCancel,
} from "./source-setup.js";

export const lostHere = { target: "losing", actions: "noteDied" } as const;

const outOfAttempts = (name: EffectName) =>
  ({ guard: "outOfAttempts", target: "#source.tellingStuck", actions: noteEffect(name) }) as const;

/** However it ends: QEMU may still end it as completed. */
const endings = {
  "monitor.completed": "handedOver",
  "monitor.failed": "restoring",
  "monitor.cancelled": "restoring",
  // A cancelled QEMU lets its guest go on before it says so: the destination's copy may be stale.
  "monitor.resumed": "restoring",
  // QEMU neither runs its guest nor ends then: the only way is on.
  "monitor.postcopyPaused": "reconnecting",
  "process.exited": lostHere,
} as const;

export const cancelling = createStateConfig({
  description: "the migration is being cancelled; QEMU may still end it as completed",
  meta: { phase: "perform3" },
  entry: "firstAttempt",
  invoke: {
    src: "cancel",
    id: "cancel",
    input: ({ context }) => toCancel(context),
    onDone: [
      { guard: answers("completed"), target: "handedOver" },
      { guard: answers("broken"), target: "reconnecting" },
      { guard: isDone, target: "restoring" },
      { target: "rescuing" },
    ],
  },
  on: endings,
  after: { cancel: "rescuing" },
});

export const rescuing = createStateConfig({
  description: "the cancel hangs; QEMU is freed from outside",
  meta: { phase: "perform3" },
  initial: "trying",
  on: endings,
  states: {
    trying: {
      entry: "countAttempt",
      invoke: {
        src: "rescue",
        id: "rescue",
        input: ({ context }) => toCancel(context),
        onDone: [
          { guard: answers("completed"), target: "#source.handedOver" },
          { guard: answers("broken"), target: "#source.reconnecting" },
          { guard: isDone, target: "#source.restoring" },
          outOfAttempts("rescue"),
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "trying" } },
  },
});

const restored = {
  type: "undo",
  params: { what: "the source let the guest go on and put QEMU's migration settings back" },
} as const;

export const restoring = createStateConfig({
  description: "the guest is made to run as before; QEMU's migration settings are put back",
  meta: { phase: "confirm3_cancelled" },
  entry: "firstAttempt",
  initial: "trying",
  on: { "process.exited": lostHere },
  states: {
    trying: {
      entry: "countAttempt",
      invoke: {
        src: "restore",
        id: "restore",
        input: ({ context }) => ({
          guestWas: context.guest?.guestWas ?? "running",
          settings: context.settings,
        }),
        onDone: [
          {
            guard: ({ context, event }) => isDone({ event }) && copiesDisks(context),
            target: "#source.unmirroring",
            actions: restored,
          },
          { guard: isDone, target: "#source.takingBack", actions: restored },
          outOfAttempts("restore"),
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "trying" } },
  },
});

const unmirrored = {
  type: "undo",
  params: { what: "the source ended the copies of the guest's disks" },
} as const;

export const unmirroring = createStateConfig({
  description: "the guest is as before; what is left of the copies of its disks is ended",
  meta: { phase: "confirm3_cancelled" },
  tags: ["restored"],
  entry: "firstAttempt",
  initial: "trying",
  on: { "process.exited": lostHere },
  states: {
    trying: {
      entry: "countAttempt",
      invoke: {
        src: "unmirror",
        id: "unmirror",
        onDone: [
          { guard: isDone, target: "#source.takingBack", actions: unmirrored },
          // The guest runs: what is left of its copies ends with their connection.
          { guard: "outOfAttempts", target: "#source.takingBack", actions: noteEffect("unmirror") },
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "trying" } },
  },
});

/** A destination that has been told of post-copy hears from nobody else that it never gets the guest. */
const takeBack = (then: "#source.stayed" | "#source.lost" | "#source.stuck") =>
  ({
    hearing: { always: [{ guard: "isAnnounced", target: "asking" }, { target: then }] },
    asking: {
      entry: "countAttempt",
      invoke: {
        src: "takeBack",
        id: "takeBack",
        input: ({ context }: { context: SourceContext }) => context.identity,
        onDone: [{ guard: isDone, target: then }, { target: "waiting" }],
      },
    },
    waiting: { after: { backoff: "asking" } },
  }) as const;

export const takingBack = createStateConfig({
  description: "the guest is as before; a destination that has been told of post-copy is told that it stays",
  meta: { phase: "confirm3_cancelled" },
  tags: ["restored"],
  entry: "firstAttempt",
  initial: "hearing",
  on: { "process.exited": { target: "losing", actions: "noteDied" } },
  states: takeBack("#source.stayed"),
});

export const losing = createStateConfig({
  description: "this QEMU is dead; a destination that has been told of post-copy is told that nothing comes",
  meta: { phase: "confirm3_cancelled" },
  entry: "firstAttempt",
  initial: "hearing",
  on: { "process.exited": knownAlready },
  states: takeBack("#source.lost"),
});

export const tellingStuck = createStateConfig({
  description: "QEMU obeys no more; a destination that has been told of post-copy is told that nothing comes",
  meta: { phase: "confirm3_cancelled" },
  entry: "firstAttempt",
  initial: "hearing",
  on: { "process.exited": { target: "losing", actions: "noteDied" } },
  states: takeBack("#source.stuck"),
});
