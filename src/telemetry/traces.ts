// OpenTelemetry spans of migrations: one per side, with a child per effect and per request. The trace id is the migration id,
// which the cookie carries to the other host. So all spans of a migration form one trace across processes, without further
// data on the wire.

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

/** Returns the trace id of a migration: the 128 bits of its uuid, or of the hash of an id that is not a uuid. */
export function traceIdOf(migrationId: string): string {
  const digits = migrationId.replaceAll("-", "").toLowerCase();
  return /^(?!0+$)[\da-f]{32}$/.test(digits)
    ? digits
    : createHash("sha256").update(migrationId).digest("hex").slice(0, 32);
}

/** Returns the common parent of all sides, the same in every process. It is never exported; tools show it as a remote parent. */
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

/** Returns an observer for `migrate`. The tracer is OpenTelemetry's API; without an SDK it records nothing. */
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
      span.setStatus({ code: SpanStatusCode.ERROR, message: failed ?? `the ${side} ended: ${outcome}` });
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
          // A requested abort is not an error.
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

/** Effects of the source that are requests to the destination. */
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
