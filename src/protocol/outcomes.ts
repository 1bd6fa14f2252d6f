// How a side and a whole migration can end, who runs the guest then, and the exit code of the command.

import type { Failure } from "./failure.js";

/** The outcomes of the source's machine. */
export type SourceOutcome = "left" | "stayed" | "lost" | "stuck";
/** The outcomes of the destination's machine. */
export type DestinationOutcome = "arrived" | "refused" | "lost" | "stuck";

export type RunningSide = "source" | "destination" | "nobody" | "unknown";

/** The outcomes of a migration. `aborted` is `stayed` at an operator's request. */
export type OutcomeKind = "arrived" | "stayed" | "aborted" | "lost" | "undecided";

export const outcomes = {
  arrived: { exitCode: 0, runs: "destination", says: "the guest runs at the destination" },
  stayed: { exitCode: 3, runs: "source", says: "the migration failed; the guest remains at the source" },
  aborted: {
    exitCode: 4,
    runs: "source",
    says: "the migration was aborted; the guest remains at the source",
  },
  lost: { exitCode: 5, runs: "nobody", says: "the guest's QEMU died; no copy runs" },
  undecided: {
    exitCode: 6,
    runs: "unknown",
    says: "it is not yet known which side runs the guest; a side without proof keeps its copy paused",
  },
} as const satisfies Record<OutcomeKind, { exitCode: number; runs: RunningSide; says: string }>;

/** The command's exit code when the migration succeeded, but the proof guest's continuity check failed. */
export const notProved = { exitCode: 7, says: "the guest runs, but its proof of continuity failed" } as const;

/** The reports that the coordinator has when it ends; null: that side did not answer. */
export interface SideReports {
  readonly source: SourceOutcome | null;
  readonly destination: DestinationOutcome | null;
  readonly failures: readonly Failure[];
}

/** The only place that derives from both sides' reports who runs the guest. */
export function deriveOutcome(heard: SideReports): OutcomeKind {
  const { source, destination } = heard;
  // A guest taken by the destination has arrived even when the source could not end its paused copy.
  if (destination === "arrived" || (source === "left" && destination === null)) return "arrived";
  if (source === "stayed") return heard.failures[0]?.code === "aborted" ? "aborted" : "stayed";
  // Version 2 has no Confirm: its source has left before the destination has taken or refused.
  const hasLeft = source === "left" && (destination === "lost" || destination === "refused");
  if (source === "lost" || hasLeft) return "lost";
  return "undecided";
}
