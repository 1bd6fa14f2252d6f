// OpenTelemetry spans of migrations: one for each side, and beneath it one for each effect and each question. The migration
// id, which travels to the other host in the cookie, is the trace id: so all spans of one migration are one trace, whichever
// process has made them, and nothing more goes over the wire.

import { createHash } from "node:crypto";
import {
  type Context,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import type { Observation, Observe } from "../effects/trace.js";
import { describeFailure } from "../protocol/failure.js";
import { effects, questions, type Side } from "../protocol/steps.js";
import { isGood, Outcomes } from "./outcomes.js";

/** The trace id of a migration: its uuid's 128 bits; of another kind of id, as many bits of its hash. */
export function traceIdOf(migrationId: string): string {
  const digits = migrationId.replaceAll("-", "").toLowerCase();
  return /^(?!0+$)[\da-f]{32}$/.test(digits)
    ? digits
    : createHash("sha256").update(migrationId).digest("hex").slice(0, 32);
}

/** What all sides hang beneath, the same in every process. Nobody sends it: a trace's tool shows it as a parent elsewhere. */
function rootOf(migrationId: string): Context {
  const traceId = traceIdOf(migrationId);
  const spanId = createHash("sha256").update(traceId).digest("hex").slice(0, 16);
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId,
    spanId,
    traceFlags: TraceFlags.SAMPLED,
    isRemote: true,
  });
}

interface Open {
  readonly span: Span;
  readonly context: Context;
  readonly calls: Map<number, Span>;
  failed: string | null;
}

/** To be given to `migrate` as `observe`. The tracer is the API's; without an SDK it makes nothing. */
export function traceMigrations(tracer: Tracer = trace.getTracer("switchover")): Observe {
  const open = new Map<string, Open>();
  const outcomes = new Outcomes();
  const begin = ({ side, migrationId, atMs }: Observation, name: string): Open => {
    const attributes = {
      "switchover.migration.id": migrationId,
      "switchover.side": side,
      "switchover.domain": name,
    };
    const root = rootOf(migrationId);
    const span = tracer.startSpan(`migration ${side}`, { startTime: atMs, attributes }, root);
    return { span, context: trace.setSpan(root, span), calls: new Map(), failed: null };
  };
  const end = (side: Side, { span, calls, failed }: Open, outcome: string, atMs: number) => {
    for (const call of calls.values()) call.end(atMs);
    span.setAttribute("switchover.outcome", outcome);
    if (failed !== null || !isGood(outcome))
      span.setStatus({ code: SpanStatusCode.ERROR, message: failed ?? `the ${side} has ended ${outcome}` });
    span.end(atMs);
  };
  return (seen) => {
    const { side, migrationId, atMs } = seen;
    const key = `${side} ${migrationId}`;
    const known = open.get(key);
    switch (seen.kind) {
      case "opened":
        open.set(key, begin(seen, seen.input.identity.name));
        break;
      case "woken":
        open.set(key, begin(seen, seen.identity.name));
        break;
      case "state": {
        if (known === undefined) return;
        const now = known;
        now.span.addEvent(seen.state, { "switchover.event": seen.event }, atMs);
        for (const failure of seen.because) {
          // What a person wanted is no error.
          if (failure.code !== "aborted") now.failed ??= describeFailure(failure);
          now.span.recordException({ name: failure.code, message: describeFailure(failure) }, atMs);
        }
        const outcome = outcomes.of(seen);
        if (outcome === null) return;
        open.delete(key);
        end(side, now, outcome, atMs);
        break;
      }
      case "call": {
        if (known === undefined) return;
        const { place, call } = seen;
        const isQuestion = place in questions || (place in effects && asksAPeer.includes(place));
        const span = tracer.startSpan(
          place,
          {
            startTime: atMs,
            kind: isQuestion ? SpanKind.CLIENT : SpanKind.INTERNAL,
            attributes: { "switchover.side": side, "switchover.step": stepOf(place) },
          },
          known.context,
        );
        known.calls.set(call, span);
        break;
      }
      case "answer": {
        const span = known?.calls.get(seen.call);
        if (span === undefined) return;
        known?.calls.delete(seen.call);
        span.setAttribute("switchover.answer", seen.answer);
        if (seen.answer === "failed" || seen.answer === "unknown")
          span.setStatus({ code: SpanStatusCode.ERROR, message: seen.says });
        span.end(atMs);
        break;
      }
      case "aside":
        known?.span.addEvent(`aside: ${seen.aside.type}`, {}, atMs);
        break;
      case "line":
      case "progress":
      case "tombstone":
        break;
    }
  };
}

/** Effects of the source that are questions to the destination. */
const asksAPeer: readonly string[] = [
  "settle",
  "concede",
  "announcePostcopy",
  "retractPostcopy",
  "handOver",
  "reconnect",
];

const stepOf = (place: string): string =>
  place in questions
    ? questions[place as keyof typeof questions]
    : (effects[place as keyof typeof effects]?.step ?? "");
