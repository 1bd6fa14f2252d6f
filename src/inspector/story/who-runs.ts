// Who runs the guest, as one sentence, from what the machines of both sides are known to be in. It upholds no guarantee; it
// tells of them, and says no more than the machines know.

import type { GuestHere } from "../../machines/shared/actions.js";
import { hasTag, metaIn } from "../../machines/shared/states.js";
import type { GuestWas } from "../../protocol/messages.js";

export interface KnownStates {
  /** Null when nothing is known of that side. */
  readonly source: string | null;
  readonly destination: string | null;
  readonly guestWas: GuestWas;
}

export type Runs = "source" | "destination" | "nobody" | "unknown";
export interface WhoRuns {
  readonly runs: Runs;
  readonly says: string;
}

/** How the guest stands on that side; a state that this version does not know says nothing. */
export const guestIn = (side: "source" | "destination", state: string): GuestHere =>
  metaIn(side, state).guest ?? "unsure";

export function whoRuns({ source, destination, guestWas }: KnownStates): WhoRuns {
  const here = source === null ? undefined : guestIn("source", source);
  const there = destination === null ? undefined : guestIn("destination", destination);
  const runs = (where: "source" | "destination", more = ""): WhoRuns => ({
    runs: where,
    says:
      guestWas === "paused"
        ? `The ${where} has the guest, paused as it was before.`
        : `The ${where} runs the guest${more}.`,
  });
  const nobody = (why: string): WhoRuns => ({ runs: "nobody", says: `Nobody runs the guest${why}.` });
  const unknown = (why: string): WhoRuns => ({ runs: "unknown", says: why });

  if (there === "runs")
    return runs(
      "destination",
      here === "held" && source !== "killing" ? "; missing memory comes from the source" : "",
    );
  if (there === "unsure")
    return here === "runs"
      ? runs("source")
      : unknown("The destination is letting the guest run; the source's copy stays paused until it says so.");
  if (here === "runs") return runs("source");
  if (here === "lost" || there === "lost") return nobody(": its QEMU died, and no other copy was whole");
  if (here === "stuck" || there === "stuck")
    return unknown("QEMU does not say whether the guest runs; a person has to look at it.");
  if (here === "still") return nobody(standing(source ?? "", there));
  if (here === "unsure")
    return unknown("The source has the guest; its QEMU is being asked, or told to let it run again.");
  if (here === "held") return runs("destination");
  if (here === "gone") {
    if (there === "held")
      return nobody(" at the moment: the source's QEMU is gone, and the destination decides");
    return there === "gone" ? nobody(": neither side has a copy") : runs("destination");
  }
  if (there === undefined) return unknown("Nothing is known of either side yet.");
  return runs("source");
}

function standing(source: string, there: GuestHere | undefined): string {
  if (!hasTag("source", source, "pointOfNoReturn")) return " at the moment: it is paused for the switchover";
  return there === "gone"
    ? " at the moment: the destination has refused it, and the source takes it back"
    : " at the moment: the source's copy stays paused until the destination has said taken or refused";
}
