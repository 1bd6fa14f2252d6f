// Parallel regions of the source's sending states: limits that the operator changes, the progress watchdog (G5), and the
// request to switch to post-copy.

import { assign, emit } from "xstate";
import { failure } from "../../protocol/failure.js";
import { type Answered, ignoring, isDone } from "../shared/actions.js";
import { createStateConfig } from "./setup.js";

/** What a person wants of the speed, told to QEMU while something is being sent. */
export const limits = createStateConfig({
  initial: "applied",
  on: { "operator.tuned": { target: ".applying", reenter: true, actions: "takeLimits" } },
  states: {
    applied: { description: "QEMU has the limits that a person wants" },
    applying: {
      description: "QEMU is being told new limits",
      entry: "tellLimits",
      invoke: {
        src: "setLimits",
        id: "setLimits",
        input: ({ context }) => context.limits,
        onDone: [
          { guard: isDone, target: "applied", actions: "sayTuned" },
          {
            target: "applied",
            actions: emit(({ event }) => ({
              type: "refused",
              event: "operator.tuned",
              why: event.output.kind === "done" ? "" : event.output.cause.message,
            })),
          },
        ],
      },
    },
  },
});

export const watchdog = <const GivenUp extends string>(givenUp: GivenUp) =>
  createStateConfig({
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
            target: givenUp,
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
  });

const refusedPostcopy = {
  type: "sayPostcopyRefused",
  params: ({ event }: Answered) => ({ why: event.output.kind === "done" ? "" : event.output.cause.message }),
} as const;

/** Post-copy begins when QEMU has sent what it must before; until the guest is handed over it can be cancelled. */
export const postcopy = createStateConfig({
  initial: "unasked",
  states: {
    unasked: {
      description: "memory is sent before the guest",
      on: { "operator.postcopyRequested": "announcing", "policy.postcopyDue": "announcing" },
    },
    announcing: {
      description: "the destination is told: from then on only the source gives the guest up",
      // It may have been heard even when nobody hears so.
      entry: assign(({ context }) => ({ ...context, postcopy: "announced" as const })),
      on: {
        "operator.postcopyRequested": ignoring("the destination is being told"),
        "policy.postcopyDue": ignoring("the destination is being told"),
      },
      invoke: {
        src: "announcePostcopy",
        id: "announcePostcopy",
        input: ({ context }) => context.identity,
        onDone: [
          { guard: isDone, target: "asking" },
          { target: "unasked", actions: refusedPostcopy },
        ],
      },
    },
    asking: {
      description: "QEMU is told to go over to post-copy",
      on: {
        "operator.postcopyRequested": ignoring("QEMU is being told"),
        "policy.postcopyDue": ignoring("QEMU is being told"),
      },
      invoke: {
        src: "startPostcopy",
        id: "startPostcopy",
        onDone: [
          { guard: isDone, target: "asked" },
          { target: "unasked", actions: refusedPostcopy },
        ],
      },
    },
    asked: {
      description: "QEMU goes over to post-copy as soon as it can",
      on: {
        "operator.postcopyRequested": ignoring("QEMU has been told"),
        "policy.postcopyDue": ignoring("QEMU has been told"),
      },
    },
  },
});
