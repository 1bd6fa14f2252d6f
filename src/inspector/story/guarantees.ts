// Checks the guarantees of a story, entry by entry, as far as records can show them. Disks and leftovers on a host are outside
// of the records: G4 and G6 are not checked here.

import { topState } from "../../machines/shared/state-name.js";
import { hasTag, isFinal } from "../../machines/shared/states.js";
import { type Entry, type Moment, sides } from "./moment.js";
import { guestIn, whoRuns } from "./who-runs.js";

export const guaranteeNames = ["G1", "G2", "G3", "G5", "G7"] as const;
export type GuaranteeName = (typeof guaranteeNames)[number];

export interface Verdict {
  readonly name: GuaranteeName;
  readonly asks: string;
  readonly holds: "yes" | "no" | "open";
  readonly says: string;
  /** The entry that violated it. */
  readonly at: number | null;
}

const asks: Readonly<Record<GuaranteeName, string>> = {
  G1: "never two running copies",
  G2: "never none for good",
  G3: "a guest that has run at the destination never runs at the source again; the source ends only after the destination has taken the guest",
  G5: "every wait ends",
  G7: "every failure reports its step, side and cause",
};

/** Receives the entries in order; remembers for each guarantee the first entry that violated it. */
export class Guarantees {
  readonly #broken = new Map<GuaranteeName, { readonly says: string; readonly at: number }>();
  #ranThere = false;
  #taken = false;

  push(entry: Entry, moment: Moment): void {
    if (entry.kind !== "state") return;
    const { source, destination } = moment.sides;
    const [here, there] = [
      source && guestIn("source", source.state),
      destination && guestIn("destination", destination.state),
    ];
    const { side } = entry;
    const top = topState(entry.state);
    if (side === "destination" && hasTag(side, entry.state, "decided")) this.#taken = true;
    if (there === "runs") this.#ranThere = true;
    if (here === "runs" && there === "runs")
      this.#break(
        "G1",
        `the source is in ${source?.state} while the destination is in ${destination?.state}`,
        moment,
      );
    if (this.#ranThere && side === "source" && here === "runs")
      this.#break("G3", `the source is in ${top} although the guest has run at the destination`, moment);
    // The state of a destination on another host is not known here.
    if (side === "source" && top === "killing" && destination !== null && !this.#taken)
      this.#break("G3", "the source is killed before the destination has taken the guest", moment);
    for (const failure of entry.because)
      if (failure.step === undefined || failure.side === undefined || failure.message.trim() === "")
        this.#break("G7", `a failure of the ${side} does not report its cause, step or side`, moment);
    if (side === "source" && top === "stayed" && (source?.failures.length ?? 0) === 0)
      this.#break("G7", "the guest stayed without a reported reason", moment);
  }

  #break(name: GuaranteeName, says: string, { count }: Moment): void {
    if (!this.#broken.has(name)) this.#broken.set(name, { says, at: count - 1 });
  }

  /** Returns the verdicts at a moment; a violation by a later entry does not count yet. */
  verdicts(moment: Moment): readonly Verdict[] {
    return guaranteeNames.map((name) => {
      const broken = this.#broken.get(name);
      if (broken !== undefined && broken.at < moment.count)
        return { name, asks: asks[name], holds: "no", says: broken.says, at: broken.at };
      return { name, asks: asks[name], at: null, ...stands(name, moment) };
    });
  }
}

function stands(name: GuaranteeName, moment: Moment): Pick<Verdict, "holds" | "says"> {
  const known = sides.filter((side) => moment.sides[side] !== null);
  const open = known.filter((side) => !isFinal(side, moment.sides[side]?.state ?? ""));
  switch (name) {
    case "G2": {
      const { source, destination } = moment.sides;
      const { runs } = whoRuns({
        source: source?.state ?? null,
        destination: destination?.state ?? null,
        guestWas: moment.guestWas,
      });
      if (runs === "source" || runs === "destination")
        return { holds: "yes", says: `the ${runs} has the guest` };
      if (open.length > 0) return { holds: "open", says: "not decided yet" };
      const died = known
        .flatMap((side) => moment.sides[side]?.failures ?? [])
        .some((failure) => failure.code === "died");
      return died
        ? {
            holds: "yes",
            says: "the guest was lost with the only QEMU that held it; no protocol can prevent this",
          }
        : { holds: "no", says: "the story has ended and neither side runs the guest" };
    }
    case "G5": {
      if (open.length === 0) return { holds: "yes", says: known.length === 0 ? "" : "all sides have ended" };
      const waits = open.map(
        (side) => `the ${side} is in ${topState(moment.sides[side]?.state ?? "") || "its first state"}`,
      );
      return { holds: "open", says: waits.join(", ") };
    }
    default:
      return { holds: "yes", says: "" };
  }
}
