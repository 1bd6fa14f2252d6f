// How a side and a whole migration can end, who runs the guest then, and the exit code of the command.

import type { Failure } from "./failure.js";

/** How the source's machine ends. */
export type SourceOutcome = "left" | "stayed" | "lost" | "stuck";
/** How the destination's machine ends. */
export type DestinationOutcome = "arrived" | "refused" | "lost" | "stuck";

export type RunningSide = "source" | "destination" | "nobody" | "unknown";

/** How a migration ends. `aborted` is `stayed` because a person wished it. */
export type OutcomeKind = "arrived" | "stayed" | "aborted" | "lost" | "undecided";

export const outcomes = {
  arrived: { exitCode: 0, runs: "destination", says: "the guest runs at the destination" },
  stayed: { exitCode: 3, runs: "source", says: "the migration failed; the guest is at the source as before" },
  aborted: {
    exitCode: 4,
    runs: "source",
    says: "the migration was aborted; the guest is at the source as before",
  },
  lost: { exitCode: 5, runs: "nobody", says: "the guest's QEMU died; no copy runs" },
  undecided: {
    exitCode: 6,
    runs: "unknown",
    says: "it is not known yet who runs the guest; a side that does not know keeps its copy paused",
  },
} as const satisfies Record<OutcomeKind, { exitCode: number; runs: RunningSide; says: string }>;

/** The command's exit code when the guest is where it should be, but its proof of continuity failed. */
export const notProved = { exitCode: 7, says: "the guest runs, but its proof of continuity failed" } as const;

/** What the coordinator has heard when it ends; nothing about a side means that it did not answer. */
export interface SideReports {
  readonly source: SourceOutcome | null;
  readonly destination: DestinationOutcome | null;
  readonly failures: readonly Failure[];
}

/** The one place that turns what the two sides say into who runs the guest. */
export function deriveOutcome(heard: SideReports): OutcomeKind {
  const { source, destination } = heard;
  // A guest taken by the destination stays arrived even when the source could not end its paused copy.
  if (destination === "arrived" || (source === "left" && destination === null)) return "arrived";
  if (source === "stayed") return heard.failures[0]?.code === "aborted" ? "aborted" : "stayed";
  // Version 2 has no Confirm: its source has left before the destination has taken or refused.
  const hasLeft = source === "left" && (destination === "lost" || destination === "refused");
  if (source === "lost" || hasLeft) return "lost";
  return "undecided";
}
