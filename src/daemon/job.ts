// What is being done with a domain, as its clients see it: a migration out of this host, or into it.

import { jobTypes } from "../drivers/libvirt-rpc/constants.js";
import type { TypedParam } from "../drivers/libvirt-rpc/libvirt-types.js";
import { expectedRestMs, type Progress } from "../protocol/convergence.js";
import type { Abort } from "../protocol/messages.js";
import type { ManagedDomain } from "./domains.js";

export interface Job {
  /** As libvirt says it. */
  readonly what: "migration out" | "migration in";
  /** Milliseconds since 1970. */
  readonly startedMs: number;
  /** XState's name of the side's state. */
  state(): string;
  progress(): Progress | null;
  abort(): Promise<Abort>;
}

/** libvirt's numbers of what a job does (virDomainJobOperation). */
const operations = { "migration in": 4, "migration out": 5 } as const;

/** As GET_JOB_INFO answers; times in ms, data in bytes. */
export function jobInfo({ job }: ManagedDomain, nowMs: number) {
  const progress = job?.progress() ?? null;
  const total = BigInt(progress?.totalBytes ?? 0);
  const remaining = BigInt(progress?.remainingBytes ?? 0);
  const processed = BigInt(progress?.transferredBytes ?? 0);
  const rest = progress === null ? null : expectedRestMs(progress);
  return {
    type: job === null ? jobTypes.none : progress === null ? jobTypes.unbounded : jobTypes.bounded,
    timeElapsed: BigInt(job === null ? 0 : Math.max(0, nowMs - job.startedMs)),
    timeRemaining: BigInt(rest === null ? 0 : Math.round(rest)),
    dataTotal: total,
    dataProcessed: processed,
    dataRemaining: remaining,
    memTotal: total,
    memProcessed: processed,
    memRemaining: remaining,
    fileTotal: 0n,
    fileProcessed: 0n,
    fileRemaining: 0n,
  };
}

/** As GET_JOB_STATS answers, by libvirt's names. */
export function jobStats(domain: ManagedDomain, nowMs: number): { type: number; params: TypedParam[] } {
  const { job } = domain;
  const info = jobInfo(domain, nowMs);
  if (job === null) return { type: jobTypes.none, params: [] };
  const progress = job.progress();
  const big = (field: string, value: bigint): TypedParam => ({ field, type: "ullong", value });
  const params: TypedParam[] = [
    { field: "operation", type: "int", value: operations[job.what] },
    big("time_elapsed", info.timeElapsed),
    ...(progress === null
      ? []
      : [
          big("time_remaining", info.timeRemaining),
          ...(progress.expectedDowntimeMs === null
            ? []
            : [big("downtime", BigInt(progress.expectedDowntimeMs))]),
          big("data_total", info.dataTotal),
          big("data_processed", info.dataProcessed),
          big("data_remaining", info.dataRemaining),
          big("memory_total", info.memTotal),
          big("memory_processed", info.memProcessed),
          big("memory_remaining", info.memRemaining),
          big("memory_bps", BigInt(progress.bandwidthBytesPerSecond)),
          big("memory_iteration", BigInt(progress.pass)),
        ]),
  ];
  return { type: info.type, params };
}
