// Parallel regions of the source's sending states: limits that the operator changes, the progress watchdog (G5), and
// the request to switch to post-copy.

import { assign, emit } from "xstate";
import { failure } from "../../protocol/failure.js";
import { type Answered, ignoring, isDone } from "../shared/actions.js";
import { createStateConfig } from "./setup.js";

/** The operator's limits, applied to QEMU while the stream or the disk mirrors run. */
export const limits = createStateConfig({
  initial: "applied",
  on: { "operator.tuned": { target: ".applying", reenter: true, actions: "takeLimits" } },
  states: {
    applied: { description: "QEMU has the operator's limits" },
    applying: {
      description: "new limits are being applied in QEMU",
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
        description: "aborts when no data is transferred for the stall limit",
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
                  message: `stalled: no data transferred for ${context.limits.stallMs} ms`,
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

/**
 * Post-copy begins after QEMU has sent what it must send before; until the guest is handed over it can be cancelled.
 */
export const postcopy = createStateConfig({
  initial: "unasked",
  states: {
    unasked: {
      description: "pre-copy: memory is transferred while the guest runs here",
      on: { "operator.postcopyRequested": "announcing", "policy.postcopyDue": "announcing" },
    },
    announcing: {
      description:
        "post-copy is announced to the destination: from then on only the source may abandon the guest",
      // The destination may have received the announcement even when no answer comes.
      entry: assign(({ context }) => ({ ...context, postcopy: "announced" as const })),
      on: {
        "operator.postcopyRequested": ignoring("post-copy is being announced to the destination"),
        "policy.postcopyDue": ignoring("post-copy is being announced to the destination"),
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
      description: "QEMU is being switched to post-copy",
      on: {
        "operator.postcopyRequested": ignoring("QEMU is being switched to post-copy"),
        "policy.postcopyDue": ignoring("QEMU is being switched to post-copy"),
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
      description: "QEMU switches to post-copy as soon as it can",
      on: {
        "operator.postcopyRequested": ignoring("QEMU has received the command"),
        "policy.postcopyDue": ignoring("QEMU has received the command"),
      },
    },
  },
});
