// The requests between the parties of the simulated world: in transit, arrived, answered; late, lost, duplicated or out of
// order. An immutable value, as the QEMUs are.

import type { Answer } from "../protocol/effect-result.js";
import type { Step } from "./machine-model.js";
import { addressee, type Question } from "./question.js";

/** The status of a pending request: not arrived, arrived, or its reply is in transit. */
type Wait = "asked" | "arrived" | { readonly answer: Answer<unknown> };

export interface Network {
  readonly id: number;
  /** Number of copies in transit; a request may outlive its sender. */
  readonly underWay: ReadonlyMap<Question, number>;
  readonly waits: ReadonlyMap<Question, Wait>;
  /** Identifies `waits` only. */
  readonly waitsId: number;
  readonly after: Map<Step | MessageChange | string, Network>;
}

/** A copy arrives (with `again`, the network delivers it once more), or a reply is sent. */
export type MessageChange =
  | { readonly arrives: Question; readonly again: boolean }
  | { readonly answered: Question; readonly answer: Answer<unknown> };

/** The maximum number of copies of one request in transit: a bound of the search. */
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
  let found = known.get(key);
  if (found === undefined) {
    found = { id: known.size, underWay, waits, waitsId, after: new Map() };
    known.set(key, found);
  }
  return found;
}

/** Computes the next network once for each network and each cause. */
function after(from: Network, why: Step | MessageChange | string, compute: () => Network): Network {
  let next = from.after.get(why);
  if (next === undefined) {
    next = compute();
    from.after.set(why, next);
  }
  return next;
}

export const emptyNetwork = network(new Map(), new Map());

/** Removes the requests that are no longer awaited and adds the new ones. */
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

/** Drops messages in transit to a machine that has ended, unless their answer is awaited: they have no effect. */
export function dropUndeliverable(from: Network, source: boolean, destination: boolean): Network {
  return after(from, `${source} ${destination}`, () => {
    const ended = { source, destination };
    const relevant = [...from.underWay].filter(
      ([question]) => !ended[addressee(question)] || from.waits.has(question),
    );
    return relevant.length === from.underWay.size ? from : network(new Map(relevant), from.waits);
  });
}

/** Reduces requests whose arrival has no effect on the receiver: one copy matters, and only while the sender waits. */
export function withoutEffect(from: Network, questions: readonly Question[]): Network {
  const underWay = new Map(from.underWay);
  for (const question of questions) {
    if (!underWay.has(question)) continue;
    if (from.waits.get(question) === "asked") underWay.set(question, 1);
    else underWay.delete(question);
  }
  return network(underWay, from.waits);
}

/** Returns the part of an answer that determines the reaction of the requester. */
export function answerKey(answer: Answer<unknown>): string {
  if (answer.kind !== "done") return answer.kind;
  const { value } = answer;
  if (typeof value !== "object" || value === null) return String(value);
  if ("accepted" in value) return String(value.accepted);
  return "outcome" in value ? String(value.outcome) : "described";
}
