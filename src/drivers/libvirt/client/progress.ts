// Converts libvirt's job statistics to the progress of a migration.

import type { Progress } from "../../../protocol/convergence/limits.js";
import { jobTypes } from "../rpc/constants.js";
import type { TypedParam } from "../rpc/libvirt-types.js";

/** Returns null when there is no job, or nothing has been sent yet. A statistic that the host does not report is 0. */
export function progressOf({
  type,
  params,
}: {
  type: number;
  params: readonly TypedParam[];
}): Progress | null {
  if (type === jobTypes.none) return null;
  const told = new Map(params.map((param) => [param.field, param.value]));
  const number = (field: string): number => Number(told.get(field) ?? 0);
  if (!told.has("memory_total")) return null;
  return {
    transferredBytes: number("memory_processed"),
    remainingBytes: number("memory_remaining"),
    totalBytes: number("memory_total"),
    dirtyBytesPerSecond: number("memory_dirty_rate") * number("memory_page_size"),
    bandwidthBytesPerSecond: number("memory_bps"),
    pass: number("memory_iteration"),
    expectedDowntimeMs: told.has("downtime") ? number("downtime") : null,
    elapsedMs: number("time_elapsed"),
    disks: told.has("disk_total")
      ? { copiedBytes: number("disk_processed"), totalBytes: number("disk_total") }
      : null,
  };
}
