// The questions between the parties of the simulated world: on their way, arrived, answered; late, lost, repeated or out
// of order. A value, as the QEMUs are.

import type { Answer } from "../protocol/effect-result.js";
import type { Step } from "./machine-model.js";
import { addressee, type Question } from "./question.js";

/** Of the one who asks: the question has not arrived, it has, or its answer is on its way back. */
type Wait = "asked" | "arrived" | { readonly answer: Answer<unknown> };

export interface Network {
  readonly id: number;
  /** Copies on their way; a question may outlive the one who asked it. */
  readonly underWay: ReadonlyMap<Question, number>;
  readonly waits: ReadonlyMap<Question, Wait>;
  /** Stands for `waits` alone. */
  readonly waitsId: number;
  readonly after: Map<Step | MessageChange | string, Network>;
}

/** A copy arrives; with `again`, the network will bring it once more. Or an answer is sent back. */
export type MessageChange =
  | { readonly arrives: Question; readonly again: boolean }
  | { readonly answered: Question; readonly answer: Answer<unknown> };

/** More copies of one question are never under way at once: a bound of the search. */
const maxCopies = 2;

const known = new Map<string, Network>();
const knownWaits = new Map<string, number>();

function network(underWay: ReadonlyMap<Question, number>, waits: ReadonlyMap<Question, Wait>): Network {
  const waiting = [...waits].map(([question, wait]) =>
    typeof wait === "string" ? `${question} ${wait}` : `${question}=${answerKey(wait.answer)}`,
  );
  const waitsKey = waiting.sort().join();
  const waitsId = knownWaits.get(waitsKey) ?? knownWaits.size;
  knownWaits.set(waitsKey, waitsId);
  const copies = [...underWay].map(([question, count]) => `${question}${count}`);
  const key = `${copies.sort()};${waitsKey}`;
  let item = known.get(key);
  if (item === undefined) {
    item = { id: known.size, underWay, waits, waitsId, after: new Map() };
    known.set(key, item);
  }
  return item;
}

/** Computed once for each network and each cause. */
function after(from: Network, why: Step | MessageChange | string, compute: () => Network): Network {
  let next = from.after.get(why);
  if (next === undefined) {
    next = compute();
    from.after.set(why, next);
  }
  return next;
}

export const emptyNetwork = network(new Map(), new Map());

/** Who asked waits no more, and asks what is new. */
export function follow(from: Network, step: Step): Network {
  if (step.asked.length === 0 && step.unasked.length === 0) return from;
  return after(from, step, () => {
    const underWay = new Map(from.underWay);
    const waits = new Map(from.waits);
    for (const question of step.unasked) waits.delete(question);
    for (const question of step.asked) {
      waits.set(question, "asked");
      underWay.set(question, Math.min(maxCopies, (underWay.get(question) ?? 0) + 1));
    }
    return network(underWay, waits);
  });
}

export const messageChanged = (from: Network, change: MessageChange): Network =>
  after(from, change, () => {
    if ("answered" in change)
      return network(from.underWay, new Map(from.waits).set(change.answered, { answer: change.answer }));
    const { arrives, again } = change;
    const underWay = new Map(from.underWay);
    const waits = new Map(from.waits);
    const left = (underWay.get(arrives) ?? 0) - (again ? 0 : 1);
    if (left > 0) underWay.set(arrives, left);
    else underWay.delete(arrives);
    if (waits.get(arrives) === "asked") waits.set(arrives, "arrived");
    return network(underWay, waits);
  });

/** What is on its way to a machine that has ended, and that nobody waits for, changes nothing any more. */
export function dropUndeliverable(from: Network, source: boolean, destination: boolean): Network {
  return after(from, `${source} ${destination}`, () => {
    const ended = { source, destination };
    const heard = [...from.underWay].filter(([it]) => !ended[addressee(it)] || from.waits.has(it));
    return heard.length === from.underWay.size ? from : network(new Map(heard), from.waits);
  });
}

/** Of a question whose arrival changes nothing at its addressee, one copy matters, and only while somebody waits for it. */
export function withoutEffect(from: Network, questions: readonly Question[]): Network {
  const underWay = new Map(from.underWay);
  for (const question of questions) {
    if (!underWay.has(question)) continue;
    if (from.waits.get(question) === "asked") underWay.set(question, 1);
    else underWay.delete(question);
  }
  return network(underWay, from.waits);
}

/** An answer as far as it decides what the asker does. */
export function answerKey(answer: Answer<unknown>): string {
  if (answer.kind !== "done") return answer.kind;
  const { value } = answer;
  if (typeof value !== "object" || value === null) return String(value);
  if ("accepted" in value) return String(value.accepted);
  return "outcome" in value ? String(value.outcome) : "described";
}
