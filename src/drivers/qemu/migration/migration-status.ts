// Interprets QEMU's migration states for a source.

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

/** States that QEMU 7.2 neither ends nor allows to be ended. */
export const brokenInPostcopy: readonly string[] = ["postcopy-paused", "postcopy-recover"];

/**
 * Distinguishes the end of one migration from that of another, since QEMU keeps answering `query-migrate` after a
 * migration has ended. Null when no migration has ended.
 */
export function markOf(info: MigrationInfo): string | null {
  const { status = "none", downtime, ram } = info;
  if (status === "none" || !hasEnded(status)) return null;
  const figures = [info["total-time"], info["setup-time"], downtime, ram?.transferred, info["error-desc"]];
  return [status, ...figures.map((figure) => figure ?? "-")].join(" ");
}

/**
 * Returns the status of this migration only: `none` when QEMU still reports an earlier one. Only a source reports RAM
 * figures with `completed`; without them the guest arrived by that migration (migration/migration.c:
 * fill_destination_migration_info).
 */
export function ownStatus(info: MigrationInfo, earlier: string | null): string {
  const { status = "none" } = info;
  if (status === "completed" && info.ram === undefined) return "none";
  const ended = endings[status];
  return ended === undefined ? status : ownEnd({ ended, mark: markOf(info) }, earlier);
}

/** Returns undefined while the migration continues. */
export const endedAs = (status: string): Ended | undefined =>
  brokenInPostcopy.includes(status) ? "broken" : endings[status];

export const stillUnderWay: Readonly<Record<string, SourceFound>> = {
  "pre-switchover": "preSwitchover",
  device: "stopped",
  cancelling: "cancelling",
};
