// Metrics, spans and log lines of migrations in the simulated world, with known outcomes.

import { readFileSync } from "node:fs";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";
import { expect, test } from "vitest";
import type { Observation, Observe } from "../../../src/effects/trace.js";
import { ToldWorld } from "../../../src/simulator/traced-world.js";
import { createLog } from "../../../src/telemetry/log.js";
import { createMetrics } from "../../../src/telemetry/metrics.js";
import { traceIdOf, traceMigrations } from "../../../src/telemetry/traces.js";

const migrationId = "0f1e2d3c-4b5a-4978-8796-a5b4c3d2e1f0";

/** Plays a whole migration; `fault` is taken as soon as possible. */
function story(fault?: string): Observation[] {
  const told = new ToldWorld(fault === undefined ? 0 : 1, {});
  for (let turn = 0; turn < 200; turn += 1) {
    const moves = told.moves();
    const calm = moves.filter((step) => !step.fault && step.rare !== "operator");
    const move =
      moves.find((move) => move.name === fault) ?? calm.find((step) => step.rare === undefined) ?? calm[0];
    if (move === undefined) break;
    told.take(move);
  }
  return told.entries
    .filter((entry) => entry.kind !== "move")
    .map((entry) => ({ ...entry, migrationId, atMs: entry.atMs * 100 }));
}
const tell = (observe: Observe, ...all: readonly Observation[]) => {
  for (const seen of all) observe(seen);
};
const half = (all: readonly Observation[]) =>
  all.slice(
    0,
    all.findIndex((seen) => seen.kind === "state" && seen.state === "handedOver"),
  );

test("metrics count beginnings, ends, durations and failures", async () => {
  const { registry, observe } = createMetrics({ version: "1.2.3", domains: () => ({ running: 2 }) });
  const value = async (name: string, labels: Readonly<Record<string, string>>) => {
    const found = (await registry.getMetricsAsJSON()).flatMap(
      (withValues) => withValues.values as { metricName?: string; value: number; labels: object }[],
    );
    return found.find(
      (sample) =>
        (sample.metricName ?? "") === name &&
        Object.entries(labels).every(
          ([key, wanted]) => (sample.labels as Record<string, string>)[key] === wanted,
        ),
    )?.value;
  };
  const text = () => registry.metrics();
  const arrived = story();
  tell(observe, ...half(arrived));
  expect(await text()).toContain('switchover_migrations_in_progress{side="source"} 1');
  tell(observe, ...arrived.slice(half(arrived).length));
  expect(await text()).toContain('switchover_migrations_in_progress{side="source"} 0');
  expect(await text()).toContain('switchover_migrations_ended_total{side="source",outcome="left"} 1');
  expect(await text()).toContain('switchover_migrations_ended_total{side="destination",outcome="arrived"} 1');
  expect(await text()).toContain('switchover_domains{state="running"} 2');
  expect(await text()).toContain('switchover_migrations_ended_total{side="coordinator",outcome="arrived"} 1');
  expect(await value("switchover_migration_duration_seconds_count", { side: "source" })).toBe(1);
  expect(await value("switchover_migration_duration_seconds_sum", { side: "source" })).toBeGreaterThan(0);
  expect(await value("switchover_call_duration_seconds_count", { call: "askFinish", answer: "done" })).toBe(
    1,
  );
  tell(observe, ...story("source.start fails"));
  expect(await text()).toContain('switchover_migrations_ended_total{side="source",outcome="stayed"} 1');
  expect(await text()).toMatch(/switchover_failures_total\{code="qemu",step="perform",side="source"\} 1/);
});

test("metrics of a domain disappear with its migration", async () => {
  const { registry, observe } = createMetrics({ version: "1.2.3" });
  const all = story();
  const [before, after] = [half(all), all.slice(half(all).length)];
  const progress = {
    transferredBytes: 5,
    remainingBytes: 7,
    totalBytes: 12,
    dirtyBytesPerSecond: 3,
    bandwidthBytesPerSecond: 4,
    pass: 1,
    expectedDowntimeMs: null,
    elapsedMs: 1,
    disks: { copiedBytes: 1, totalBytes: 10 },
  };
  tell(observe, ...before, {
    kind: "progress",
    migrationId,
    side: "source",
    atMs: 0,
    progress,
    forecast: "",
  });
  expect(await registry.metrics()).toContain('switchover_memory_remaining_bytes{domain="guest"} 7');
  expect(await registry.metrics()).toContain('switchover_disks_remaining_bytes{domain="guest"} 9');
  tell(observe, ...after);
  expect(await registry.metrics()).not.toContain('domain="guest"');
});

test("spans of both sides and the coordinator are one trace, by the migration's id", () => {
  const exporter = new InMemorySpanExporter();
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  // Each process sees its own side.
  const all = story("coordinator.askFinish: no answer comes in time");
  for (const side of ["source", "destination", "coordinator"] as const)
    tell(traceMigrations(provider.getTracer(side)), ...all.filter((seen) => seen.side === side));
  const spans = exporter.getFinishedSpans();
  expect(new Set(spans.map((span) => span.spanContext().traceId))).toEqual(
    new Set([migrationId.replaceAll("-", "")]),
  );
  const named = (name: string) => {
    const found = spans.find((span) => span.name === name);
    if (found === undefined) throw new Error(`the trace has no span ${name}`);
    return found;
  };
  const roots = ["migration source", "migration destination", "migration coordinator"].map(named);
  expect(new Set(roots.map((root) => root.parentSpanContext?.spanId)).size, "they hang beneath one").toBe(1);
  expect(roots[0]?.status.code).toBe(SpanStatusCode.UNSET);
  expect(roots[0]?.events.map((event) => event.name)).toContain("handedOver");
  const start = named("start");
  expect(start.parentSpanContext?.spanId).toBe(roots[0]?.spanContext().spanId);
  expect(start.attributes).toMatchObject({ "switchover.step": "perform", "switchover.answer": "done" });
  const lost = spans.find((span) => span.name === "askFinish" && span.status.code === SpanStatusCode.ERROR);
  expect(lost?.kind).toBe(SpanKind.CLIENT);
  expect(lost?.duration[0], "in the time of the story, not of the test").toBeLessThan(60);
});

test("the span of a failed migration contains the failure", () => {
  const exporter = new InMemorySpanExporter();
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  tell(traceMigrations(provider.getTracer("all")), ...story("source.start fails"));
  const source = exporter
    .getFinishedSpans()
    .find((getFinishedSpan) => getFinishedSpan.name === "migration source");
  expect(source?.status).toMatchObject({
    code: SpanStatusCode.ERROR,
    message: expect.stringContaining("perform failed at the source"),
  });
  expect(source?.events.find((event) => event.name === "exception")?.attributes).toMatchObject({
    "exception.type": "qemu",
  });
});

test("an id that is not a uuid also has a trace id, the same everywhere", () => {
  expect(traceIdOf("no uuid")).toMatch(/^[\da-f]{32}$/);
  expect(traceIdOf("no uuid")).toBe(traceIdOf("no uuid"));
  expect(traceIdOf("00000000-0000-0000-0000-000000000000"), "zeros are no trace").not.toMatch(/^0+$/);
});

test("a log line has the migration, the side and the state; failures are warnings", () => {
  const lines: Record<string, unknown>[] = [];
  const log = createLog("info", { write: (line: string) => void lines.push(JSON.parse(line)) });
  tell(log.observe, ...story("source.start fails"));
  log.warn("a disk is full");
  const common = { migrationId, trace_id: migrationId.replaceAll("-", ""), domain: "guest" };
  expect(lines).toContainEqual(
    expect.objectContaining({ ...common, level: 30, side: "source", state: "stayed" }),
  );
  expect(lines).toContainEqual(
    expect.objectContaining({ ...common, level: 40, failure: expect.objectContaining({ step: "perform" }) }),
  );
  expect(lines.at(-1)).toMatchObject({ level: 40, msg: "a disk is full" });
  expect(lines.every((line) => typeof line["time"] === "string")).toBe(true);
});

test("the dashboard queries only existing metrics", async () => {
  const { registry } = createMetrics({ version: "1.2.3", domains: () => ({}) });
  const exposed = new Set(
    (await registry.getMetricsAsJSON()).flatMap(({ name }) => [
      name,
      `${name}_bucket`,
      `${name}_sum`,
      `${name}_count`,
    ]),
  );
  const dashboard = JSON.parse(readFileSync("packaging/grafana-dashboard.json", "utf8")) as {
    panels: { id: number; targets: { expr: string }[] }[];
  };
  const asked = dashboard.panels
    .flatMap((panel) => panel.targets)
    .flatMap(({ expr }) => expr.match(/\bswitchover_\w+/g) ?? []);
  expect(asked.length).toBeGreaterThan(10);
  expect(asked.filter((text) => !exposed.has(text))).toEqual([]);
  const ids = dashboard.panels.map((panel) => panel.id);
  expect(new Set(ids).size).toBe(ids.length);
});
