// What the fault sweep puts in, from the step table: each effect and each question fails, stays without an answer, loses
// its answer, happens twice, comes late, or a QEMU or the engine dies before, during or after it. A new row is swept at once.

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

/** A peer's question has no `fails` of its own: that is the other side's effect. */
const isPossible = ({ place, way }: FaultCase): boolean => way !== "fails" || place in effects;

export const sweep: readonly FaultCase[] = [
  ...(Object.keys(effects) as EffectName[]),
  ...(Object.keys(questions) as QuestionName[]),
].flatMap((place) => ways.map((way) => ({ place, way })).filter(isPossible));

/** Case number `seed`: the sweep's own first, then two of them at once, chosen by the seed. */
export function caseOf(seed: number): readonly FaultCase[] {
  const single = sweep[seed];
  if (single !== undefined) return [single];
  const pick = (salt: number) => sweep[Math.abs(Math.imul(seed * 2 + salt, 0x9e3779b1) >>> 7) % sweep.length];
  return [pick(1), pick(2)].filter((fault) => fault !== undefined);
}

/** As often as the coordinator asks, or longer than the source's patience. */
const unheard = (place: Place, times: number): FaultCase[] =>
  Array<FaultCase>(times).fill({ place, way: "never happens, no answer" });

/** What must go wrong before, so that the migration comes by the place at all. */
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
