// The questions that the parties of the simulated world put to one another: who asks each, and who is asked.

import type { QuestionName } from "../protocol/steps.js";

/** The coordinator's questions, and those of a source to a destination. */
const ofSource = [
  "settle",
  "concede",
  "retractPostcopy",
  "announcePostcopy",
  "handOver",
  "reconnect",
] as const;
export type Question = QuestionName | (typeof ofSource)[number];

/** A source asks it of the destination; all others are the coordinator's. */
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
