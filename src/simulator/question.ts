// The requests between the parties of the simulated world, with the sender and the receiver of each.

import type { QuestionName } from "../protocol/steps.js";

/** The requests of the coordinator, and those of a source to a destination. */
const ofSource = [
  "settle",
  "concede",
  "retractPostcopy",
  "announcePostcopy",
  "handOver",
  "reconnect",
] as const;
export type Question = QuestionName | (typeof ofSource)[number];

/** Returns whether a source sends this request to the destination; the coordinator sends all others. */
export const isOfSource = (question: Question): boolean => ofSource.some((asked) => asked === question);

const isQuestion = (effect: string): effect is Question =>
  effect.startsWith("ask") || ofSource.some((running) => running === effect);
export const questionsOf = (effects: Iterable<string>): Question[] => [...effects].filter(isQuestion);

const isForSource: ReadonlySet<Question> = new Set([
  "askBegin",
  "askPerform",
  "askAbort",
  "askConfirm",
  "askConfirmCancelled",
]);
export const addressee = (question: Question): "source" | "destination" =>
  isForSource.has(question) ? "source" : "destination";
