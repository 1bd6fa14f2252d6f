// The source's side of one migration: from Begin to left, stayed, lost or stuck. No I/O: effects are bound in
// effects/bind.ts. Upholds G1 and G3: from handedOver on, only a refusal by the destination resumes the guest.

import { assign, emit } from "xstate";
import type { Answer } from "../protocol/answer.js";
import { type Failure, failure } from "../protocol/failures.js";
import type { Decision, Ended } from "../protocol/messages.js";
import { deadlineCause, effectFailure, finalState, present } from "./habits.js";
import { createMachine, type SourceContext, switchoverMs } from "./source-setup.js";

export type { SourceEvent, StartInput } from "./source-setup.js";

const late = (waitedFor: string, ms: number): Failure =>
  failure("deadline", "perform", "source", deadlineCause(waitedFor, ms));
const aborted: Failure = failure("aborted", "perform", "source", {
  message: "a person aborted the migration",
});
const givenUp: Failure = failure("refused", "perform", "source", {
  message: "the coordinator gave the migration up",
});
const cancelledElsewhere: Failure = failure("aborted", "perform", "source", {
  message: "QEMU's migration was cancelled, but not by us",
});
const resumedItself: Failure = failure("qemu", "perform", "source", {
  message: "the guest was resumed at the source while it was being handed over",
});
const isDone = ({ event }: { event: { output: Answer<unknown> } }) => event.output.kind === "done";
const isFailed = ({ event }: { event: { output: Answer<unknown> } }) => event.output.kind === "failed";
const isTaken = ({ event }: { event: { output: Answer<Decision> } }) =>
  event.output.kind === "done" && event.output.value === "taken";
const isRefused = ({ event }: { event: { output: Answer<Decision> } }) =>
  event.output.kind === "done" && event.output.value === "refused";
const isCompleted = ({ event }: { event: { output: Answer<Ended> } }) =>
  event.output.kind === "done" && event.output.value === "completed";

const tooLong = {
  target: "cancelling",
  actions: {
    type: "note",
    params: ({ context }: { context: SourceContext }) => late("QEMU's completed", switchoverMs(context)),
  },
} as const;

/** While QEMU's migration is under way: how it can go on, end, or be stopped by someone. */
const underWay = {
  "monitor.preSwitchover": "switchingOver",
  "monitor.completed": "handedOver",
  "monitor.failed": { target: "restoring", actions: "noteFailed" },
  "monitor.cancelled": { target: "restoring", actions: { type: "note", params: cancelledElsewhere } },
  "person.aborted": { target: "cancelling", actions: { type: "note", params: aborted } },
  "coordinator.confirmCancelledAsked": { target: "cancelling", actions: { type: "note", params: givenUp } },
  "process.exited": { target: "yielding", actions: "noteDied" },
} as const;

/** While the guest runs, unless somebody has paused it. */
const sending = {
  ...underWay,
  "monitor.stopped": "pausing",
  "monitor.suspended": { actions: { type: "takeGuestWas", params: { guestWas: "paused" } } },
  "monitor.resumed": { actions: { type: "takeGuestWas", params: { guestWas: "running" } } },
} as const;

/** While the guest is stopped for the switchover. */
const stopped = {
  ...underWay,
  // QEMU lets the guest go on by itself when it gives up; from then on this copy is ahead of the destination's.
  "monitor.resumed": { target: "cancelling", actions: { type: "note", params: resumedItself } },
} as const;

const tooLateToTune = { actions: { type: "refuse", params: { why: "no memory is being sent" } } } as const;
const pastReturn = {
  actions: {
    type: "refuse",
    params: { why: "the guest is handed over; only the destination's refusal brings it back" },
  },
} as const;
const ending = {
  actions: { type: "keep", params: { why: "the guest is on its way back already" } },
} as const;

export const sourceMachine = createMachine({
  id: "source",
  context: ({ input }) => ({
    ...input,
    guest: null,
    prepared: null,
    limitsTold: null,
    progress: null,
    attempts: 0,
    failures: [],
    undone: [],
  }),
  output: ({ context, event }) => ({
    outcome: finalState(event.type, { left: "left", stayed: "stayed", lost: "lost", stuck: "stuck" }),
    failures: context.failures,
    undone: context.undone,
  }),
  invoke: { src: "watch", id: "watch" },
  initial: "beginning",
  // What a state does not name itself. process.exited is missing on purpose: each state says what it means there.
  on: {
    "coordinator.performAsked": {
      actions: { type: "keep", params: { why: "asked again; the answer follows from the state" } },
    },
    "coordinator.confirmAsked": {
      actions: { type: "refuse", params: { why: "the guest has not been handed over" } },
    },
    "coordinator.confirmCancelledAsked": ending,
    "person.aborted": ending,
    "person.tuned": tooLateToTune,
    "monitor.stopped": { actions: { type: "keep", params: { why: "the state does not depend on it" } } },
    "monitor.suspended": { actions: { type: "keep", params: { why: "the state does not depend on it" } } },
    "monitor.resumed": { actions: { type: "keep", params: { why: "the state does not depend on it" } } },
    "monitor.progressed": { actions: "takeProgress" },
    "monitor.preSwitchover": { actions: { type: "keep", params: { why: "the migration is being ended" } } },
    "monitor.completed": { actions: { type: "keep", params: { why: "known already" } } },
    "monitor.cancelled": { actions: { type: "keep", params: { why: "known already" } } },
    "monitor.failed": { actions: { type: "keep", params: { why: "known already" } } },
  },
  states: {
    beginning: {
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
              event.output.kind === "done" ? { ...context, guest: event.output.value } : context,
            ),
          },
          {
            guard: isFailed,
            target: "stayed",
            actions: { type: "note", params: ({ event }) => effectFailure("describe", event.output) },
          },
          {
            target: "doubting",
            actions: { type: "note", params: ({ event }) => effectFailure("describe", event.output) },
          },
        ],
      },
      on: {
        "person.aborted": { target: "stayed", actions: { type: "note", params: aborted } },
        "coordinator.confirmCancelledAsked": { target: "stayed", actions: { type: "note", params: givenUp } },
        "process.exited": { target: "lost", actions: "noteDied" },
      },
    },
    doubting: {
      description: "QEMU did not answer; if it is dead, that is told within moments, and nothing stayed",
      meta: { phase: "begin3" },
      on: { "process.exited": { target: "lost", actions: "noteDied" } },
      after: { cancel: "stayed" },
    },
    begun: {
      description: "the job is taken, the guest runs; Perform has not been asked",
      meta: { phase: "begin3" },
      on: {
        "coordinator.performAsked": {
          target: "starting",
          actions: assign(({ event }) => ({ prepared: event.prepared })),
        },
        "coordinator.confirmCancelledAsked": { target: "stayed", actions: { type: "note", params: givenUp } },
        "person.aborted": { target: "stayed", actions: { type: "note", params: aborted } },
        "person.tuned": { actions: "takeLimits" },
        "process.exited": { target: "lost", actions: "noteDied" },
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
    },
    starting: {
      description: "capabilities and limits are set, `migrate` is sent; the guest runs",
      meta: { phase: "perform3" },
      entry: "tellLimits",
      invoke: {
        src: "start",
        id: "start",
        input: ({ context }) => ({
          identity: context.identity,
          prepared: present(context.prepared, "Prepare's answer"),
          limits: context.limits,
        }),
        onDone: [
          {
            guard: ({ context, event }) => isDone({ event }) && context.limits !== context.limitsTold,
            target: "#source.precopying.limits.telling",
          },
          { guard: isDone, target: "precopying" },
          {
            target: "cancelling",
            actions: { type: "note", params: ({ event }) => effectFailure("start", event.output) },
          },
        ],
      },
      on: { ...sending, "person.tuned": { actions: "takeLimits" } },
    },
    precopying: {
      description: "memory flows while the guest runs; a watchdog wants progress",
      meta: { phase: "perform3" },
      type: "parallel",
      on: sending,
      states: {
        limits: {
          initial: "told",
          on: { "person.tuned": { target: ".telling", reenter: true, actions: "takeLimits" } },
          states: {
            told: { description: "QEMU has the limits that a person wants" },
            telling: {
              description: "QEMU is being told new limits",
              entry: "tellLimits",
              invoke: {
                src: "tune",
                id: "tune",
                input: ({ context }) => context.limits,
                onDone: [
                  {
                    guard: isDone,
                    target: "told",
                    actions: emit(({ context }) => ({
                      type: "tuned",
                      bandwidthMiBps: context.limits.bandwidthMiBps,
                      maxDowntimeMs: context.limits.maxDowntimeMs,
                    })),
                  },
                  {
                    target: "told",
                    actions: emit(({ event }) => ({
                      type: "refused",
                      event: "person.tuned",
                      why: event.output.kind === "done" ? "" : event.output.cause.message,
                    })),
                  },
                ],
              },
            },
          },
        },
        watchdog: {
          initial: "watching",
          states: {
            watching: {
              description: "gives up when no byte moves for the stall limit",
              on: {
                "monitor.progressed": [
                  { guard: "moved", target: "watching", reenter: true, actions: "takeProgress" },
                  { actions: "takeProgress" },
                ],
              },
              after: {
                stall: {
                  target: "#source.cancelling",
                  actions: {
                    type: "note",
                    params: ({ context }) =>
                      failure("stalled", "perform", "source", {
                        message: `no byte has moved for ${context.limits.stallMs} ms`,
                      }),
                  },
                },
              },
            },
          },
        },
      },
    },
    pausing: {
      description: "the guest is stopped; QEMU sends the rest, or waits in pre-switchover to be let on",
      meta: { phase: "perform3" },
      on: stopped,
      after: { switchover: tooLong },
    },
    switchingOver: {
      description: "QEMU sends the device state; it can still be cancelled until it says completed",
      meta: { phase: "perform3" },
      invoke: {
        src: "continue",
        id: "continue",
        onDone: [
          { guard: isDone },
          {
            target: "cancelling",
            actions: { type: "note", params: ({ event }) => effectFailure("continue", event.output) },
          },
        ],
      },
      on: {
        ...stopped,
        "monitor.preSwitchover": { actions: { type: "keep", params: { why: "known already" } } },
      },
      after: { switchover: tooLong },
    },
    handedOver: {
      description: "point of no return: the destination holds the guest whole; this copy stays paused",
      meta: { phase: "perform3_done" },
      tags: ["performed", "pointOfNoReturn"],
      on: {
        "coordinator.confirmAsked": "killing",
        "coordinator.confirmCancelledAsked": "settling",
        "person.aborted": pastReturn,
        "process.exited": { target: "yielding", actions: "noteDied" },
      },
      after: { confirm: "settling" },
    },
    settling: {
      description: "asks the destination until it says taken or refused",
      meta: { phase: "perform3_done" },
      tags: ["performed", "pointOfNoReturn"],
      entry: "firstAttempt",
      initial: "asking",
      on: {
        "coordinator.confirmAsked": "killing",
        "coordinator.confirmCancelledAsked": {
          actions: { type: "keep", params: { why: "the destination is being asked already" } },
        },
        "person.aborted": pastReturn,
        "process.exited": { target: "yielding", actions: "noteDied" },
      },
      states: {
        asking: {
          entry: "countAttempt",
          invoke: {
            src: "settle",
            id: "settle",
            input: ({ context }) => context.identity,
            onDone: [
              { guard: isTaken, target: "#source.killing" },
              {
                guard: isRefused,
                target: "#source.restoring",
                actions: {
                  type: "note",
                  params: failure("refused", "settle", "destination", {
                    message: "the destination refused the guest",
                  }),
                },
              },
              { target: "waiting" },
            ],
          },
        },
        waiting: { after: { backoff: "asking" } },
      },
    },
    yielding: {
      description: "this QEMU is dead; the destination takes the guest if it holds it whole",
      meta: { phase: "perform3_done" },
      tags: ["pointOfNoReturn"],
      entry: "firstAttempt",
      initial: "asking",
      on: {
        "coordinator.confirmAsked": "left",
        "coordinator.confirmCancelledAsked": {
          actions: { type: "keep", params: { why: "the destination is being asked already" } },
        },
        "person.aborted": { actions: { type: "refuse", params: { why: "the source's QEMU is dead" } } },
        "process.exited": { actions: { type: "keep", params: { why: "known already" } } },
      },
      states: {
        asking: {
          entry: "countAttempt",
          invoke: {
            src: "yield",
            id: "yield",
            input: ({ context }) => context.identity,
            onDone: [
              { guard: isTaken, target: "#source.left" },
              { guard: isRefused, target: "#source.lost" },
              { target: "waiting" },
            ],
          },
        },
        waiting: { after: { backoff: "asking" } },
      },
    },
    killing: {
      description: "the destination has taken the guest; this copy is ended",
      meta: { phase: "confirm3" },
      tags: ["performed", "pointOfNoReturn"],
      entry: "firstAttempt",
      initial: "trying",
      on: {
        "coordinator.confirmAsked": { actions: { type: "keep", params: { why: "known already" } } },
        "coordinator.confirmCancelledAsked": {
          actions: { type: "refuse", params: { why: "the destination has taken the guest" } },
        },
        "person.aborted": pastReturn,
        "process.exited": "left",
      },
      states: {
        trying: {
          entry: "countAttempt",
          invoke: {
            src: "killSource",
            id: "killSource",
            onDone: [
              { guard: isDone, target: "#source.left" },
              {
                guard: "outOfAttempts",
                target: "#source.stuck",
                actions: { type: "note", params: ({ event }) => effectFailure("killSource", event.output) },
              },
              { target: "waiting" },
            ],
          },
        },
        waiting: { after: { backoff: "trying" } },
      },
    },
    cancelling: {
      description: "the migration is being cancelled; QEMU may still end it as completed",
      meta: { phase: "perform3" },
      entry: "firstAttempt",
      invoke: {
        src: "cancel",
        id: "cancel",
        onDone: [
          { guard: isCompleted, target: "handedOver" },
          { guard: isDone, target: "restoring" },
          { target: "rescuing" },
        ],
      },
      on: {
        "monitor.completed": "handedOver",
        "monitor.failed": "restoring",
        "monitor.cancelled": "restoring",
        // A cancelled QEMU lets its guest go on before it says so: the destination's copy may be stale.
        "monitor.resumed": "restoring",
        "process.exited": { target: "lost", actions: "noteDied" },
      },
      after: { cancel: "rescuing" },
    },
    rescuing: {
      description: "the cancel hangs; QEMU is freed from outside",
      meta: { phase: "perform3" },
      initial: "trying",
      on: {
        "monitor.completed": "handedOver",
        "monitor.failed": "restoring",
        "monitor.cancelled": "restoring",
        // A cancelled QEMU lets its guest go on before it says so: the destination's copy may be stale.
        "monitor.resumed": "restoring",
        "process.exited": { target: "lost", actions: "noteDied" },
      },
      states: {
        trying: {
          entry: "countAttempt",
          invoke: {
            src: "rescue",
            id: "rescue",
            onDone: [
              { guard: isCompleted, target: "#source.handedOver" },
              { guard: isDone, target: "#source.restoring" },
              {
                guard: "outOfAttempts",
                target: "#source.stuck",
                actions: { type: "note", params: ({ event }) => effectFailure("rescue", event.output) },
              },
              { target: "waiting" },
            ],
          },
        },
        waiting: { after: { backoff: "trying" } },
      },
    },
    restoring: {
      description: "the guest is made to run as before; QEMU's migration settings are put back",
      meta: { phase: "confirm3_cancelled" },
      entry: "firstAttempt",
      initial: "trying",
      on: {
        "process.exited": { target: "lost", actions: "noteDied" },
      },
      states: {
        trying: {
          entry: "countAttempt",
          invoke: {
            src: "restore",
            id: "restore",
            input: ({ context }) => context.guest?.guestWas ?? "running",
            onDone: [
              {
                guard: isDone,
                target: "#source.stayed",
                actions: {
                  type: "undo",
                  params: { what: "the source let the guest go on and put QEMU's migration settings back" },
                },
              },
              {
                guard: "outOfAttempts",
                target: "#source.stuck",
                actions: { type: "note", params: ({ event }) => effectFailure("restore", event.output) },
              },
              { target: "waiting" },
            ],
          },
        },
        waiting: { after: { backoff: "trying" } },
      },
    },
    left: { type: "final", description: "the guest left: this copy is gone", tags: ["performed"] },
    stayed: { type: "final", description: "the guest is here as before" },
    lost: { type: "final", description: "this QEMU died and the destination did not have the guest" },
    stuck: { type: "final", description: "QEMU obeys no more; a person has to look" },
  },
});
