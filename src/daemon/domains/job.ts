// The current or last job of a domain as clients see it: a migration out of this host or into it.

import { jobTypes } from "../../drivers/libvirt/rpc/constants.js";
import type { TypedParam } from "../../drivers/libvirt/rpc/libvirt-types.js";
import { type DiskProgress, expectedRemainingMs, type Progress } from "../../protocol/convergence/limits.js";
import type { Abort } from "../../protocol/messages.js";

export interface Job {
  /** libvirt's name of the operation. */
  readonly what: "migration out" | "migration in";
  /** Milliseconds since 1970. */
  readonly startedMs: number;
  progress(): Progress | null;
  abort(): Promise<Abort>;
  /** Suspends the guest so that its migration can complete. As with libvirt, it resumes on whichever host it ends up. */
  suspend?(): Promise<void>;
  /** Ends the guest on this host during its migration, on behalf of an operator. @throws LibvirtError */
  destroy(): Promise<void>;
  /**
   * Records an operator's decision where the other host has none: whether this host's copy is the guest. Absent where this
   * host decides itself. @throws LibvirtError when the migration is not undecided.
   */
  decide?(how: "adopted" | "released"): Promise<void>;
}

export interface FinishedJob {
  readonly how: "completed" | "failed" | "cancelled";
  readonly operation: Job["what"];
  /** Keyed by libvirt's names of job statistics; times in ms, data in bytes. */
  readonly figures: Readonly<Record<string, number>>;
  /** The reason of a failed job. */
  readonly errmsg?: string | undefined;
}

/** libvirt's numbers of job operations (virDomainJobOperation). */
const operations = { "migration in": 4, "migration out": 5 } as const;

/** Returns the reply to GET_JOB_INFO; times in ms, data in bytes. */
export function jobInfo(job: Job | null, nowMs: number) {
  const progress = job?.progress() ?? null;
  const total = BigInt(progress?.totalBytes ?? 0);
  const remaining = BigInt(progress?.remainingBytes ?? 0);
  const processed = BigInt(progress?.transferredBytes ?? 0);
  const fileTotal = BigInt(progress?.disks?.totalBytes ?? 0);
  const fileProcessed = BigInt(progress?.disks?.copiedBytes ?? 0);
  const fileRemaining = fileTotal - fileProcessed;
  const rest = progress === null ? null : expectedRemainingMs(progress);
  return {
    type: job === null ? jobTypes.none : progress === null ? jobTypes.unbounded : jobTypes.bounded,
    timeElapsed: BigInt(job === null ? 0 : elapsedMs(job, nowMs)),
    timeRemaining: BigInt(rest === null ? 0 : Math.round(rest)),
    dataTotal: total + fileTotal,
    dataProcessed: processed + fileProcessed,
    dataRemaining: remaining + fileRemaining,
    memTotal: total,
    memProcessed: processed,
    memRemaining: remaining,
    fileTotal,
    fileProcessed,
    fileRemaining,
  };
}

export const elapsedMs = ({ startedMs }: Job, nowMs: number): number => Math.max(0, nowMs - startedMs);

/** Returns the statistics of a running job, keyed by libvirt's names. */
export function figuresOf(progress: Progress): Record<string, number> {
  const { totalBytes, transferredBytes, remainingBytes, bandwidthBytesPerSecond, pass } = progress;
  const remainingMs = expectedRemainingMs(progress);
  return {
    ...(remainingMs !== null && totalBytes > 0 && { time_remaining: Math.round(remainingMs) }),
    ...(progress.expectedDowntimeMs !== null && { downtime: progress.expectedDowntimeMs }),
    ...memoryFigures({ totalBytes, transferredBytes, remainingBytes, bandwidthBytesPerSecond, pass }),
    ...(progress.disks !== null && diskFigures(progress, progress.disks)),
  };
}

/** libvirt's `data_*` fields are the sums of memory and disks. */
const diskFigures = (
  memory: Progress,
  { totalBytes, copiedBytes }: DiskProgress,
): Record<string, number> => ({
  data_total: memory.totalBytes + totalBytes,
  data_processed: memory.transferredBytes + copiedBytes,
  data_remaining: memory.remainingBytes + totalBytes - copiedBytes,
  disk_total: totalBytes,
  disk_processed: copiedBytes,
  disk_remaining: totalBytes - copiedBytes,
});

export const memoryFigures = (
  progress: Pick<
    Progress,
    "totalBytes" | "transferredBytes" | "remainingBytes" | "bandwidthBytesPerSecond" | "pass"
  >,
): Record<string, number> => ({
  data_total: progress.totalBytes,
  data_processed: progress.transferredBytes,
  data_remaining: progress.remainingBytes,
  memory_total: progress.totalBytes,
  memory_processed: progress.transferredBytes,
  memory_remaining: progress.remainingBytes,
  memory_bps: progress.bandwidthBytesPerSecond,
  memory_iteration: progress.pass,
});

/** Returns the reply to GET_JOB_STATS for a running job. */
export function jobStats(job: Job | null, nowMs: number): { type: number; params: TypedParam[] } {
  const { type } = jobInfo(job, nowMs);
  if (job === null) return { type, params: [] };
  const progress = job.progress();
  const figures = progress === null ? {} : figuresOf(progress);
  return {
    type,
    params: [operation(job.what), ...numbers({ time_elapsed: elapsedMs(job, nowMs), ...figures })],
  };
}

/** Returns the reply to GET_JOB_STATS for a finished job. */
export function finishedStats({ how, operation: what, figures, errmsg }: FinishedJob) {
  const params: TypedParam[] = [
    operation(what),
    ...numbers(figures),
    { field: "success", type: "boolean", value: how === "completed" },
    ...(errmsg === undefined ? [] : [{ field: "errmsg", type: "string", value: errmsg } as const]),
  ];
  return { type: jobTypes[how], params };
}

const operation = (what: Job["what"]): TypedParam => ({
  field: "operation",
  type: "int",
  value: operations[what],
});

const numbers = (figures: Readonly<Record<string, number>>): TypedParam[] =>
  Object.entries(figures).map(([field, value]) => ({
    field,
    type: "ullong",
    value: BigInt(Math.max(0, Math.round(value))),
  }));
