// What QEMU's words for the state of its migration mean to a source.

import { type Ended, ownEnd, type SourceFound } from "../../../protocol/messages.js";
import type { CommandReturn } from "../monitor/commands.js";

type MigrationInfo = CommandReturn<"query-migrate">;

const endings: Readonly<Record<string, Ended>> = {
  none: "none",
  cancelled: "cancelled",
  failed: "failed",
  completed: "completed",
};

export const hasEnded = (status: string): boolean => endings[status] !== undefined;

/** What QEMU 7.2 neither ends nor lets be ended. */
export const brokenInPostcopy: readonly string[] = ["postcopy-paused", "postcopy-recover"];

/**
 * Tells the end of one migration from that of another, for a QEMU that keeps the answer to `query-migrate` after the
 * migration has ended. Null when no migration has ended.
 */
export function markOf(info: MigrationInfo): string | null {
  const { status = "none", downtime, ram } = info;
  if (status === "none" || !hasEnded(status)) return null;
  const figures = [info["total-time"], info["setup-time"], downtime, ram?.transferred, info["error-desc"]];
  return [status, ...figures.map((figure) => figure ?? "-")].join(" ");
}

/**
 * Returns the status of this migration alone: `none` when QEMU still answers with an earlier one. Only a source reports
 * RAM figures with `completed`; without them the guest came in by that migration (migration/migration.c:
 * fill_destination_migration_info).
 */
export function ownStatus(info: MigrationInfo, earlier: string | null): string {
  const { status = "none" } = info;
  if (status === "completed" && info.ram === undefined) return "none";
  const ended = endings[status];
  return ended === undefined ? status : ownEnd({ ended, mark: markOf(info) }, earlier);
}

/** Undefined while it goes on. */
export const endedAs = (status: string): Ended | undefined =>
  brokenInPostcopy.includes(status) ? "broken" : endings[status];

export const stillUnderWay: Readonly<Record<string, SourceFound>> = {
  "pre-switchover": "preSwitchover",
  device: "stopped",
  cancelling: "cancelling",
};
