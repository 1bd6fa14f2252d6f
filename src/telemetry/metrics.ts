// Prometheus metrics of migrations, derived only from observations. Names and units follow Prometheus' conventions. Series of a
// domain are removed when its migration has ended.

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { Observation, Observe } from "../effects/trace.js";
import type { Failure } from "../protocol/failure.js";
import type { Side } from "../protocol/steps.js";
import { Outcomes } from "./outcomes.js";

const migrationSeconds = [0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600];
const sides: readonly Side[] = ["source", "destination", "coordinator"];
const callSeconds = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60];

export interface Metrics {
  readonly observe: Observe;
  readonly registry: Registry;
}

export interface MetricsOptions {
  readonly version: string;
  /** Returns the current number of domains per state. */
  readonly domains?: () => Readonly<Record<string, number>>;
}

export function createMetrics({ version, domains }: MetricsOptions): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: "switchover_build_info",
    help: "1, with the version as a label.",
    registers,
    labelNames: ["version"],
  }).set({ version }, 1);
  if (domains !== undefined)
    new Gauge({
      name: "switchover_domains",
      help: "Domains of this host, by state.",
      registers,
      labelNames: ["state"],
      collect() {
        this.reset();
        for (const [state, count] of Object.entries(domains())) this.set({ state }, count);
      },
    });
  const begun = new Counter({
    name: "switchover_migrations_begun_total",
    help: "Migrations begun, by side.",
    registers,
    labelNames: ["side"],
  });
  const ended = new Counter({
    name: "switchover_migrations_ended_total",
    help: "Migrations ended, by side and outcome.",
    registers,
    labelNames: ["side", "outcome"],
  });
  const underWay = new Gauge({
    name: "switchover_migrations_in_progress",
    help: "Migrations under way, by side.",
    registers,
    labelNames: ["side"],
  });
  const lasted = new Histogram({
    name: "switchover_migration_duration_seconds",
    help: "Time from a side's beginning to its end.",
    registers,
    labelNames: ["side", "outcome"],
    buckets: migrationSeconds,
  });
  const called = new Histogram({
    name: "switchover_call_duration_seconds",
    help: "Duration of effects on QEMU and of requests between the parties.",
    labelNames: ["side", "call", "answer"],
    buckets: callSeconds,
    registers,
  });
  const failures = new Counter({
    name: "switchover_failures_total",
    help: "Failures, by code, step and side.",
    registers,
    labelNames: ["code", "step", "side"],
  });
  const perDomain = (name: string, help: string) =>
    new Gauge({
      name: `switchover_${name}`,
      help: `${help} Only during a migration.`,
      labelNames: ["domain"],
      registers,
    });
  const remaining = perDomain("memory_remaining_bytes", "Memory still to be sent.");
  const transferred = perDomain("memory_transferred_bytes", "Memory sent so far.");
  const dirty = perDomain("memory_dirty_bytes_per_second", "Rate at which the guest dirties memory.");
  const bandwidth = perDomain("memory_bandwidth_bytes_per_second", "Rate at which memory is sent.");
  const disks = perDomain("disks_remaining_bytes", "Disk data still to be copied.");
  const ofDomains = [remaining, transferred, dirty, bandwidth, disks];

  interface Open {
    /** Null when the side began before this process started. */
    readonly atMs: number | null;
    readonly name: string;
    readonly calls: Map<number, number>;
  }
  const open = new Map<string, Open>();
  const outcomes = new Outcomes();
  /** Counted failures by migration, because a coordinator repeats those of the sides. */
  const counted = new Map<string, Set<string>>();
  const countFailure = (migrationId: string, { code, step, side, message }: Failure) => {
    const before = counted.get(migrationId) ?? new Set();
    counted.set(migrationId, before);
    const known = `${code} ${step} ${side} ${message}`;
    if (before.has(known)) return;
    before.add(known);
    failures.inc({ code, step, side });
  };
  const seen = (observation: Observation) => {
    const { side } = observation;
    const key = `${side} ${observation.migrationId}`;
    const known = open.get(key);
    switch (observation.kind) {
      case "opened":
        begun.inc({ side });
        underWay.inc({ side });
        open.set(key, { atMs: observation.atMs, name: observation.input.identity.name, calls: new Map() });
        break;
      case "woken":
        underWay.inc({ side });
        open.set(key, { atMs: null, name: observation.identity.name, calls: new Map() });
        break;
      case "state": {
        for (const failure of observation.because) countFailure(observation.migrationId, failure);
        const outcome = outcomes.of(observation);
        if (known === undefined || outcome === null) return;
        open.delete(key);
        if (!sides.some((other) => open.has(`${other} ${observation.migrationId}`)))
          counted.delete(observation.migrationId);
        underWay.dec({ side });
        ended.inc({ side, outcome });
        if (known.atMs !== null) lasted.observe({ side, outcome }, (observation.atMs - known.atMs) / 1000);
        if (side === "source") for (const gauge of ofDomains) gauge.remove({ domain: known.name });
        break;
      }
      case "call":
        known?.calls.set(observation.call, observation.atMs);
        break;
      case "answer": {
        const { call, place, answer, atMs } = observation;
        const sinceMs = known?.calls.get(call);
        if (sinceMs === undefined) return;
        known?.calls.delete(call);
        called.observe({ side, call: place, answer }, (atMs - sinceMs) / 1000);
        break;
      }
      case "progress": {
        if (known === undefined) return;
        const { progress } = observation;
        const domain = { domain: known.name };
        remaining.set(domain, progress.remainingBytes);
        transferred.set(domain, progress.transferredBytes);
        dirty.set(domain, progress.dirtyBytesPerSecond);
        bandwidth.set(domain, progress.bandwidthBytesPerSecond);
        if (progress.disks !== null)
          disks.set(domain, progress.disks.totalBytes - progress.disks.copiedBytes);
        break;
      }
      case "line":
      case "aside":
      case "tombstone":
        break;
    }
  };
  return { observe: seen, registry };
}
