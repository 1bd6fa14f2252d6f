// The destination's states until it decides: it prepares, listens, receives, and refuses whenever it is asked too early.

import { assign } from "xstate";
import { type Failure, failure } from "../../protocol/failures.js";
import type { StepName } from "../../protocol/steps.js";
import {
  type Answered,
  answers,
  deadlineCause,
  isDone,
  keeping,
  noteEffect,
  refusing,
  woke,
} from "../shared/actions.js";
import { createStateConfig, type DestinationContext, type DestinationQuestion } from "./setup.js";

const late = (step: StepName, waitedFor: string, ms: number): Failure =>
  failure("deadline", step, "destination", deadlineCause(waitedFor, ms));

const noteQemu = (step: StepName) => ({ type: "noteQemu", params: { step } }) as const;

const refusesLate = (
  step: StepName,
  waitedFor: string,
  deadline: "listenMs" | "receiveMs" | "completeMs" | "finishMs",
) =>
  ({
    target: "refusing",
    actions: {
      type: "note",
      params: ({ context }: { context: DestinationContext }) =>
        late(step, waitedFor, context.deadlines[deadline]),
    },
  }) as const;

/** Undecided: whoever asks now gets a refusal, and a refusal is for good. */
export const undecided = {
  "coordinator.finishCancelledAsked": "refusing",
  "source.asked": "refusing",
  "monitor.failed": { target: "refusing", actions: noteQemu("perform") },
  "process.exited": { target: "refusing", actions: noteQemu("perform") },
} as const;

export const partly = "keepPartly";
export const whole = "keepWhole";

/** Whether the guest is claimed at the fence first. */
export const deciding = [{ guard: "mustClaim", target: "claiming" }, { target: "taking" }] as const;

/** Before the engine was restarted it had been told of post-copy. */
const announcedAnd =
  (...found: readonly string[]) =>
  ({ context, event }: { context: DestinationContext } & Answered): boolean =>
    context.postcopy === "announced" && found.some((it) => answers(it)({ event }));

const putOff = (question: DestinationQuestion) =>
  ({ actions: [{ type: "putOff", params: question }, followsSoon] }) as const;
const followsSoon = {
  type: "keep",
  params: { why: "the answer follows when QEMU has been asked" },
} as const;

export const waking = createStateConfig({
  description: "begins, or goes on where the engine was when it was restarted",
  always: [
    // Nobody has been told that this side is prepared.
    woke("refusing", "preparing", "refusing", "endingUnrecorded"),
    woke(
      "recovering",
      ...[
        "listening",
        "receiving",
        "completing",
        "receivingPostcopy",
        "runnable",
        "entrusted",
        "received",
        "recovering",
      ],
    ),
    woke("claiming", "claiming"),
    woke("disclaiming", "disclaiming"),
    woke("resuming", "taking", "resuming", "landing"),
    woke("fetching", "fetching"),
    woke("orphaned", "orphaned"),
    woke("killing", "killing"),
    woke("arrived", "arrived"),
    woke("refused", "refused"),
    woke("lost", "lost"),
    woke("stuck", "stuck"),
    woke("leftBehind", "leftBehind"),
    { target: "preparing" },
  ],
});

export const recovering = createStateConfig({
  description: "the engine was restarted in the middle of the stream: QEMU is asked how far it is",
  exit: "putAgain",
  meta: { phase: "prepare" },
  tags: ["prepared"],
  invoke: {
    src: "inquireDestination",
    id: "inquireDestination",
    onDone: [
      { guard: announcedAnd("listening", "receiving"), target: "receivingPostcopy" },
      { guard: announcedAnd("received"), target: "runnable", actions: whole },
      { guard: answers("listening"), target: "listening" },
      { guard: answers("receiving"), target: "receiving" },
      { guard: answers("partly"), target: "runnable", actions: partly },
      { guard: answers("received"), target: "received", actions: whole },
      // It has run here, so the source's copy must not (G3).
      { guard: answers("runs"), target: "taking", actions: whole },
      { guard: answers("runsPartly"), target: "taking", actions: partly },
      { guard: answers("runsBroken"), target: "taking", actions: partly },
      {
        guard: isDone,
        target: "refusing",
        actions: {
          type: "note",
          params: failure("qemu", "perform", "destination", {
            message: "QEMU refused the stream while the engine was down",
          }),
        },
      },
      { target: "refusing", actions: noteEffect("inquireDestination") },
    ],
  },
  on: {
    ...undecided,
    "coordinator.finishAsked": putOff("coordinator.finishAsked"),
    "coordinator.finishCancelledAsked": putOff("coordinator.finishCancelledAsked"),
    "source.asked": putOff("source.asked"),
    "source.yielded": putOff("source.yielded"),
    "source.announced": putOff("source.announced"),
    "source.handedOver": putOff("source.handedOver"),
    "source.reconnectAsked": putOff("source.reconnectAsked"),
    // Heard in the same breath as the answer, and newer.
    "monitor.active": [{ guard: "wasAnnounced", target: "receivingPostcopy" }, { target: "receiving" }],
    "monitor.postcopy": { target: "runnable", actions: partly },
    "monitor.completed": [
      { guard: "wasAnnounced", target: "runnable", actions: whole },
      { target: "received", actions: whole },
    ],
    "monitor.resumed": "taking",
  },
});

export const preparing = createStateConfig({
  description: "starts QEMU paused, sets its capabilities, has it listen",
  meta: { phase: "prepare" },
  invoke: {
    src: "prepare",
    id: "prepare",
    input: ({ context }) => ({ identity: context.identity, guest: context.guest }),
    onDone: [
      {
        guard: isDone,
        target: "listening",
        actions: assign(({ context, event }) =>
          event.output.kind === "done" ? { ...context, prepared: event.output.value } : context,
        ),
      },
      { target: "refusing", actions: noteEffect("prepare") },
    ],
  },
  on: {
    "coordinator.finishAsked": refusing("Prepare has not been answered yet"),
    "coordinator.finishCancelledAsked": "refusing",
    "source.asked": "refusing",
    "source.yielded": "refusing",
    "source.announced": "refusing",
    "source.handedOver": "refusing",
    "process.exited": { target: "refusing", actions: noteQemu("prepare") },
  },
});

export const listening = createStateConfig({
  description: "QEMU listens; the stream has not begun",
  meta: { phase: "prepare" },
  tags: ["prepared"],
  on: {
    ...undecided,
    "monitor.active": "receiving",
    "monitor.completed": "received",
    "coordinator.finishAsked": "completing",
    "source.yielded": "completing",
    "source.announced": { target: "receivingPostcopy", actions: "keepAnnounced" },
    "source.handedOver": { target: "entrusted", actions: "keepAnnounced" },
    "monitor.postcopy": { target: "runnable", actions: partly },
  },
  after: { listen: refusesLate("perform", "the stream", "listenMs") },
});

export const receiving = createStateConfig({
  description: "memory comes in",
  meta: { phase: "prepare" },
  tags: ["prepared"],
  on: {
    ...undecided,
    "monitor.completed": "received",
    "coordinator.finishAsked": "completing",
    "source.yielded": "completing",
    "source.announced": { target: "receivingPostcopy", actions: "keepAnnounced" },
    "source.handedOver": { target: "entrusted", actions: "keepAnnounced" },
    "monitor.postcopy": { target: "runnable", actions: partly },
  },
  after: { receive: refusesLate("perform", "the end of the stream", "receiveMs") },
});

export const completing = createStateConfig({
  description: "the source is done, this QEMU still loads the end of the stream",
  meta: { phase: "finish3" },
  tags: ["prepared"],
  on: {
    ...undecided,
    "monitor.completed": deciding.map((it) => ({ ...it, actions: whole })),
    "coordinator.finishAsked": keeping("known already"),
    "source.yielded": keeping("known already"),
    // One that is late: the source has died since.
    "source.handedOver": keeping("the end of the stream decides"),
    "monitor.postcopy": { actions: partly },
    // The source is dead, and had not sent all.
    "monitor.postcopyPaused": "refusing",
  },
  after: { complete: refusesLate("finish", "the end of the stream", "completeMs") },
});

export const received = createStateConfig({
  description: "the guest is here whole, and paused; nobody has said yet who runs it",
  meta: { phase: "prepare" },
  tags: ["prepared"],
  on: {
    ...undecided,
    "coordinator.finishAsked": deciding,
    "source.yielded": deciding,
    // Someone else let it run: it has run here, so the source's copy must not (G3).
    "monitor.resumed": "taking",
  },
  after: { finish: refusesLate("finish", "Finish", "finishMs") },
});
