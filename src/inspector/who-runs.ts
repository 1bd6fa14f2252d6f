// Who runs the guest, as one sentence, from what the machines of both sides are known to be in. It upholds no guarantee; it
// tells of them, and says no more than the machines know.

import { topState } from "../machines/habits.js";
import type { GuestWas } from "../protocol/messages.js";

/** How the guest stands on one side, by that side's state. */
type Here =
  /** It runs, unless a person has paused it. */
  | "runs"
  /** This copy stands still, and may still run again here. */
  | "still"
  /** It is not certain: QEMU is being asked, or told. */
  | "unsure"
  /** A copy that must not run: it is being filled, is held back, or is being ended. */
  | "held"
  /** No copy is left. */
  | "gone"
  /** The copy has died and took the guest with it, as far as this side knows. */
  | "lost"
  | "stuck";

export const atSource: Readonly<Record<string, Here>> = {
  waking: "unsure",
  recovering: "unsure",
  beginning: "runs",
  doubting: "unsure",
  begun: "runs",
  mirroring: "runs",
  starting: "runs",
  precopying: "runs",
  pausing: "still",
  endingMirrors: "still",
  switchingOver: "still",
  handingOver: "still",
  serving: "held",
  reconnecting: "held",
  stranded: "held",
  reviving: "unsure",
  askingBack: "still",
  abandoning: "held",
  handedOver: "still",
  settling: "still",
  yielding: "gone",
  killing: "held",
  cancelling: "unsure",
  rescuing: "unsure",
  restoring: "unsure",
  unmirroring: "runs",
  takingBack: "runs",
  losing: "lost",
  tellingStuck: "stuck",
  left: "gone",
  stayed: "runs",
  lost: "lost",
  stuck: "stuck",
};

export const atDestination: Readonly<Record<string, Here>> = {
  waking: "unsure",
  recovering: "unsure",
  preparing: "held",
  listening: "held",
  receiving: "held",
  completing: "held",
  receivingPostcopy: "held",
  runnable: "held",
  entrusted: "held",
  received: "held",
  claiming: "held",
  disclaiming: "held",
  taking: "unsure",
  resuming: "unsure",
  landing: "runs",
  fetching: "runs",
  orphaned: "runs",
  refusing: "held",
  endingUnrecorded: "held",
  killing: "held",
  arrived: "runs",
  refused: "gone",
  lost: "lost",
  stuck: "stuck",
  leftBehind: "held",
};

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

export function whoRuns({ source, destination, guestWas }: KnownStates): WhoRuns {
  const here = source === null ? undefined : (atSource[topState(source)] ?? "unsure");
  const there = destination === null ? undefined : (atDestination[topState(destination)] ?? "unsure");
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

function standing(source: string, there: Here | undefined): string {
  switch (topState(source)) {
    case "handedOver":
    case "settling":
    case "handingOver":
    case "askingBack":
      return there === "gone"
        ? " at the moment: the destination has refused it, and the source takes it back"
        : " at the moment: the source's copy stays paused until the destination has said taken or refused";
    default:
      return " at the moment: it is paused for the switchover";
  }
}
