// The faults of the sweep, derived from the step table: each effect and each query fails, gets no answer, loses its answer, is
// repeated or delayed, or a QEMU or the engine dies before, during or after it. A new row is swept without a new test.

import { type EffectName, effects, type QuestionName, questions } from "../../../src/protocol/steps.js";

export type Place = EffectName | QuestionName;

const who = ["the source's QEMU", "the destination's QEMU", "the engine"] as const;
const times = ["before", "during", "after"] as const;

export type Way =
  | "fails"
  | "never happens, no answer"
  | "happens, its answer is lost"
  | "happens twice"
  | "comes late"
  | `${(typeof who)[number]} dies ${(typeof times)[number]} it`;

const ways: readonly Way[] = [
  "fails",
  "never happens, no answer",
  "happens, its answer is lost",
  "happens twice",
  "comes late",
  ...who.flatMap((victim) => times.map((time) => `${victim} dies ${time} it` as const)),
];

export interface FaultCase {
  readonly place: Place;
  readonly way: Way;
}
export const describeCase = ({ place, way }: FaultCase): string => `${place}: ${way}`;
export const killsEngine = ({ way }: FaultCase): boolean => way.startsWith("the engine");

/** A query to the peer has no `fails`: that is an effect of the other side. */
const isPossible = ({ place, way }: FaultCase): boolean => way !== "fails" || place in effects;

export const sweep: readonly FaultCase[] = [
  ...(Object.keys(effects) as EffectName[]),
  ...(Object.keys(questions) as QuestionName[]),
].flatMap((place) => ways.map((way) => ({ place, way })).filter(isPossible));

/** Case number `seed`: the cases of the sweep first, then pairs of them that the seed selects. */
export function caseOf(seed: number): readonly FaultCase[] {
  const single = sweep[seed];
  if (single !== undefined) return [single];
  const pick = (salt: number) => sweep[Math.abs(Math.imul(seed * 2 + salt, 0x9e3779b1) >>> 7) % sweep.length];
  return [pick(1), pick(2)].filter((fault) => fault !== undefined);
}

/** As often as the coordinator retries, or longer than the source waits. */
const unheard = (place: Place, times: number): FaultCase[] =>
  Array<FaultCase>(times).fill({ place, way: "never happens, no answer" });

/** The faults that lead the migration to a place which it does not reach otherwise. */
const ledTo: Partial<Record<Place, readonly FaultCase[]>> = {
  forceCancel: unheard("cancel", 4),
  resume: unheard("take", 4),
  settle: Array<FaultCase>(4).fill({ place: "askFinish", way: "happens, its answer is lost" }),
  concede: unheard("askFinish", 4),
  fence: [...unheard("askFinish", 4), ...unheard("askFinishCancelled", 4), ...unheard("settle", 100)],
  disclaim: [{ place: "take", way: "fails" }],
  cancelMirrors: [{ place: "completeMirrors", way: "fails" }],
  probeSource: [{ place: "start", way: "the engine dies after it" }],
  probeDestination: [{ place: "askPerform", way: "the engine dies during it" }],
};

export const leadsTo = (place: Place): readonly FaultCase[] => ledTo[place] ?? [];
