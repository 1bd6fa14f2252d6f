// The source's states on the way back: the migration is cancelled, and the guest made to run as before.

import { failure } from "../protocol/failures.js";
import { answers, isDone, noteEffect, noteThat } from "./habits.js";
import { copiesDisks, createStateConfig } from "./source-setup.js";

/** Facts of QEMU 7.2: `cont` is refused then, and a cancel never ends. */
const endless = noteThat(
  failure("qemu", "perform", "source", {
    message: "QEMU lost its connection in post-copy: what is left is a copy that it cannot run any more",
  }),
);

/** However it ends: QEMU may still end it as completed. */
const endings = {
  "monitor.completed": "handedOver",
  "monitor.failed": "restoring",
  "monitor.cancelled": "restoring",
  // A cancelled QEMU lets its guest go on before it says so: the destination's copy may be stale.
  "monitor.resumed": "restoring",
  "monitor.postcopyPaused": { target: "lost", actions: endless },
  "process.exited": { target: "lost", actions: "noteDied" },
} as const;

export const cancelling = createStateConfig({
  description: "the migration is being cancelled; QEMU may still end it as completed",
  meta: { phase: "perform3" },
  entry: "firstAttempt",
  invoke: {
    src: "cancel",
    id: "cancel",
    onDone: [
      { guard: answers("completed"), target: "handedOver" },
      { guard: answers("broken"), target: "lost", actions: endless },
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
        onDone: [
          { guard: answers("completed"), target: "#source.handedOver" },
          { guard: answers("broken"), target: "#source.lost", actions: endless },
          { guard: isDone, target: "#source.restoring" },
          { guard: "outOfAttempts", target: "#source.stuck", actions: noteEffect("rescue") },
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
  on: { "process.exited": { target: "lost", actions: "noteDied" } },
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
          { guard: isDone, target: "#source.stayed", actions: restored },
          { guard: "outOfAttempts", target: "#source.stuck", actions: noteEffect("restore") },
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "trying" } },
  },
});

export const unmirroring = createStateConfig({
  description: "the guest is as before; what is left of the copies of its disks is ended",
  meta: { phase: "confirm3_cancelled" },
  entry: "firstAttempt",
  initial: "trying",
  on: { "process.exited": { target: "lost", actions: "noteDied" } },
  states: {
    trying: {
      entry: "countAttempt",
      invoke: {
        src: "unmirror",
        id: "unmirror",
        onDone: [
          {
            guard: isDone,
            target: "#source.stayed",
            actions: { type: "undo", params: { what: "the source ended the copies of the guest's disks" } },
          },
          { guard: "outOfAttempts", target: "#source.stuck", actions: noteEffect("unmirror") },
          { target: "waiting" },
        ],
      },
    },
    waiting: { after: { backoff: "trying" } },
  },
});
