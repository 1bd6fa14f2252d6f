// States in one sentence which side runs the guest, from the known states of both machines. It upholds no guarantee itself and
// claims no more than the machines have recorded.

import type { GuestHere } from "../../machines/shared/actions.js";
import { hasTag, metaIn } from "../../machines/shared/states.js";
import type { GuestWas } from "../../protocol/messages.js";

export interface KnownStates {
  /** Null when the state of that side is not known. */
  readonly source: string | null;
  readonly destination: string | null;
  readonly guestWas: GuestWas;
}

export type Runs = "source" | "destination" | "nobody" | "unknown";
export interface WhoRuns {
  readonly runs: Runs;
  readonly says: string;
}

/** Returns the condition of the guest on that side; `unsure` for a state that this version does not know. */
export const guestIn = (side: "source" | "destination", state: string): GuestHere =>
  metaIn(side, state).guest ?? "unsure";

export function whoRuns({ source, destination, guestWas }: KnownStates): WhoRuns {
  const here = source === null ? undefined : guestIn("source", source);
  const there = destination === null ? undefined : guestIn("destination", destination);
  const runs = (where: "source" | "destination", more = ""): WhoRuns => ({
    runs: where,
    says:
      guestWas === "paused"
        ? `The ${where} has the guest, paused as before the migration.`
        : `The ${where} runs the guest${more}.`,
  });
  const neither = (why: string): WhoRuns => ({
    runs: "nobody",
    says: `Neither side runs the guest${why}.`,
  });
  const unknown = (why: string): WhoRuns => ({ runs: "unknown", says: why });

  if (there === "runs")
    return runs(
      "destination",
      here === "held" && source !== "killing"
        ? "; the remaining memory is being fetched from the source"
        : "",
    );
  if (there === "unsure")
    return here === "runs"
      ? runs("source")
      : unknown(
          "The destination is resuming the guest; the source's copy stays paused until the destination confirms.",
        );
  if (here === "runs") return runs("source");
  if (here === "lost" || there === "lost") return neither(": its QEMU died and no other copy was complete");
  if (here === "stuck" || there === "stuck")
    return unknown("QEMU does not report whether the guest runs; operator intervention required.");
  if (here === "still") return neither(standing(source ?? "", there));
  if (here === "unsure")
    return unknown("The source has the guest; its QEMU is being queried or is resuming it.");
  if (here === "held") return runs("destination");
  if (here === "gone") {
    if (there === "held")
      return neither(" at the moment: the source's QEMU is gone, and the destination decides");
    return there === "gone" ? neither(": neither side has a copy") : runs("destination");
  }
  if (there === undefined) return unknown("The state of both sides is not known yet.");
  return runs("source");
}

function standing(source: string, there: GuestHere | undefined): string {
  if (!hasTag("source", source, "pointOfNoReturn")) return " at the moment: it is paused for the switchover";
  return there === "gone"
    ? " at the moment: the destination has refused it and the source is about to resume it"
    : " at the moment: the source's copy stays paused until the destination has answered taken or refused";
}
