// The source's region that makes memory converge: it compares each pass with the convergence policy and applies the
// measures that are due, one after the other. Upholds G5 where the policy ends with a rule that always becomes due.

import { raise } from "xstate";
import { describeForecast } from "../../protocol/convergence/forecast.js";
import { failure } from "../../protocol/failure.js";
import { type Answered, isDone } from "../shared/actions.js";
import { createStateConfig, firstDue, forecastOf, type SourceContext } from "./setup.js";

const givenUpBy = (context: SourceContext) => {
  const due = firstDue(context);
  return failure("diverges", "perform", "source", {
    message: `rule ${due?.rule} of the convergence policy aborts the migration, because ${due?.why}; forecast: ${describeForecast(forecastOf(context))}`,
  });
};

/** A measure that QEMU has rejected is not repeated: the policy's next rule applies instead. */
const notTaken = (event: `policy.${string}`) =>
  ({
    target: "watching",
    actions: {
      type: "sayNotTaken",
      params: ({ event: { output } }: Answered) => ({
        event,
        why: output.kind === "done" ? "" : output.cause.message,
      }),
    },
  }) as const;

const taken = { guard: isDone, target: "watching" } as const;

export const convergence = createStateConfig({
  initial: "watching",
  states: {
    watching: {
      description: "compares each pass with the convergence policy",
      always: [
        { guard: "forecastChanged", actions: ["sayForecast", "keepForecast"] },
        {
          guard: { type: "measureDue", params: "relaxLimits" },
          target: "relaxing",
          actions: ["sayMeasure", "takeMeasure"],
        },
        {
          guard: { type: "measureDue", params: "throttle" },
          target: "throttling",
          actions: ["sayMeasure", "takeMeasure"],
        },
        {
          guard: { type: "measureDue", params: "suspend" },
          target: "suspending",
          actions: ["sayMeasure", "takeMeasure"],
        },
        {
          guard: { type: "measureDue", params: "postcopy" },
          actions: ["sayMeasure", "takeMeasure", raise({ type: "policy.postcopyDue" })],
        },
        {
          guard: { type: "measureDue", params: "abort" },
          target: "#source.rollback.aborting.cancelling",
          actions: ["sayMeasure", { type: "note", params: ({ context }) => givenUpBy(context) }],
        },
      ],
    },
    relaxing: {
      description: "a rule is due: QEMU's limits are being changed",
      entry: "tellLimits",
      invoke: {
        src: "relaxLimits",
        id: "relaxLimits",
        input: ({ context }) => context.limits,
        onDone: [taken, notTaken("policy.relaxDue")],
      },
    },
    throttling: {
      description: "a rule is due: the guest's vCPUs are being throttled",
      invoke: {
        src: "throttle",
        id: "throttle",
        input: ({ context }) => context.throttlePercent,
        onDone: [taken, notTaken("policy.throttleDue")],
      },
    },
    suspending: {
      description: "a rule is due: the guest is being suspended",
      invoke: { src: "suspend", id: "suspend", onDone: [taken, notTaken("policy.suspendDue")] },
    },
  },
});
