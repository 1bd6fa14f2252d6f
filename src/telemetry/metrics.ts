// Prometheus metrics of migrations, counted off what is seen of them; nothing else in the code knows of them. Names and
// units by Prometheus' conventions. What is told of one domain goes when its migration has ended.

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
  /** How many domains are in each state now. */
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
    help: "Migrations that have begun, by side.",
    registers,
    labelNames: ["side"],
  });
  const ended = new Counter({
    name: "switchover_migrations_ended_total",
    help: "Migrations that have ended, by side and how.",
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
    help: "From a side's beginning to its end.",
    registers,
    labelNames: ["side", "outcome"],
    buckets: migrationSeconds,
  });
  const called = new Histogram({
    name: "switchover_call_duration_seconds",
    help: "Effects on QEMU, and questions between the parties, until they were answered.",
    labelNames: ["side", "call", "answer"],
    buckets: callSeconds,
    registers,
  });
  const failures = new Counter({
    name: "switchover_failures_total",
    help: "Failures that were told, by what failed and where.",
    registers,
    labelNames: ["code", "step", "side"],
  });
  const perDomain = (name: string, help: string) =>
    new Gauge({
      name: `switchover_${name}`,
      help: `${help} Only while it migrates.`,
      labelNames: ["domain"],
      registers,
    });
  const remaining = perDomain("memory_remaining_bytes", "Memory that is still to be sent.");
  const transferred = perDomain("memory_transferred_bytes", "What has been sent.");
  const dirty = perDomain("memory_dirty_bytes_per_second", "How fast the guest changes its memory.");
  const bandwidth = perDomain("memory_bandwidth_bytes_per_second", "How fast its memory is sent.");
  const disks = perDomain("disks_remaining_bytes", "What is still to be copied of its disks.");
  const ofDomains = [remaining, transferred, dirty, bandwidth, disks];

  interface Open {
    /** Null when it was begun before this process. */
    readonly atMs: number | null;
    readonly name: string;
    readonly calls: Map<number, number>;
  }
  const open = new Map<string, Open>();
  const outcomes = new Outcomes();
  /** By migration: a coordinator tells what the sides have told it. */
  const told = new Map<string, Set<string>>();
  const tell = (migrationId: string, { code, step, side, message }: Failure) => {
    const before = told.get(migrationId) ?? new Set();
    told.set(migrationId, before);
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
        for (const failure of observation.because) tell(observation.migrationId, failure);
        const outcome = outcomes.of(observation);
        if (known === undefined || outcome === null) return;
        open.delete(key);
        if (!sides.some((other) => open.has(`${other} ${observation.migrationId}`)))
          told.delete(observation.migrationId);
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
