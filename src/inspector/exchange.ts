// What the parties said to one another, read off their records: who asked, whether the question arrived, whether the
// answer was heard. A question that was answered with nothing was lost, or its answer was.

import type { AnswerSeen, CallSeen } from "../effects/observe.js";
import { invokedIn } from "../machines/shared/states.js";
import type { QuestionName, Side } from "../protocol/steps.js";
import type { Entry } from "./moment.js";

interface Kind {
  readonly from: Side;
  readonly to: Side;
  readonly says: string;
  /** The event that it becomes there; a party that is begun by it has none. */
  readonly event: string;
}

const fromSource = (event: string, says: string): Kind => ({
  from: "source",
  to: "destination",
  says,
  event,
});
const asks = (to: Side, event: string, says: string): Kind => ({ from: "coordinator", to, says, event });
export const kinds: Readonly<Record<string, Kind>> = {
  askBegin: asks("source", "opened", "Begin"),
  askPrepare: asks("destination", "opened", "Prepare"),
  askPerform: asks("source", "coordinator.performAsked", "Perform"),
  askAbort: asks("source", "person.aborted", "abort"),
  askFinish: asks("destination", "coordinator.finishAsked", "Finish"),
  askFinishCancelled: asks("destination", "coordinator.finishCancelledAsked", "Finish, cancelled"),
  askConfirm: asks("source", "coordinator.confirmAsked", "Confirm"),
  askConfirmCancelled: asks("source", "coordinator.confirmCancelledAsked", "Confirm, cancelled"),
  settle: fromSource("source.asked", "settle: taken or refused?"),
  takeBack: fromSource("source.asked", "the guest stays: refuse it"),
  yield: fromSource("source.yielded", "my QEMU is dead: take it if you hold it whole"),
  announce: fromSource("source.announced", "post-copy may begin"),
  handOver: fromSource("source.handedOver", "post-copy: take the guest"),
  reconnect: fromSource("source.reconnectAsked", "post-copy: listen again"),
} satisfies Record<QuestionName, Kind> & Readonly<Record<string, Kind>>;

export interface Message {
  readonly question: string;
  readonly from: Side;
  readonly to: Side;
  readonly says: string;
  /** Which entry, counted from 0. */
  readonly sentAt: number;
  readonly sentMs: number;
  arrivedAt: number | null;
  answeredAt: number | null;
  answeredMs: number | null;
  /** Null while nobody knows. */
  answer: AnswerSeen["answer"] | null;
  answerSays: string;
}

/**
 * `lost`: the question did not arrive; `answer lost`: it did, and the answer was not heard. `given up`: whoever asked has
 * gone on without an answer.
 */
export function fateOf(it: Message): "asked" | "answered" | "lost" | "answer lost" | "given up" {
  if (it.answer === "given up") return it.answer;
  if (it.answer === "unknown") return it.arrivedAt === null ? "lost" : "answer lost";
  return it.answeredAt === null ? "asked" : "answered";
}

/** Read off entry by entry, in order. */
export class Exchange {
  readonly messages: Message[] = [];
  #count = 0;
  /** Calls are told of beside the records; where they are, they say more. */
  readonly #byCall = new Map<string, Message>();
  readonly #open = new Map<string, Message>();
  #seesCalls: ReadonlySet<Side> = new Set();

  push(entry: Entry): void {
    const index = this.#count;
    this.#count += 1;
    const { side } = entry;
    if (entry.kind === "call") {
      this.#seesCalls = new Set([...this.#seesCalls, side]);
      const message = this.#knownByState(entry) ?? this.#send(entry.place, index, entry.atMs);
      if (message !== undefined) this.#byCall.set(`${side} ${entry.call}`, message);
    } else if (entry.kind === "answer") {
      const message = this.#byCall.get(`${side} ${entry.call}`);
      if (message !== undefined) this.#close(message, { index, ...entry });
    } else if (entry.kind === "opened" || entry.kind === "state") {
      this.#arrives(side, entry.kind === "opened" ? "opened" : entry.event, index);
      if (entry.kind === "state" && !this.#seesCalls.has(side)) this.#bySide(side, entry, index);
    }
  }

  /** The state that makes the first call was told of before it. */
  #knownByState({ place, side, call }: CallSeen): Message | undefined {
    return call === 1 && kinds[place]?.from === side ? this.#open.get(place) : undefined;
  }

  #send(question: string, index: number, atMs: number): Message | undefined {
    const kind = kinds[question];
    if (kind === undefined) return undefined;
    const { from, to, says } = kind;
    const message: Message = {
      ...{ question, from, to, says, sentAt: index, sentMs: atMs },
      ...{ arrivedAt: null, answeredAt: null, answeredMs: null, answer: null, answerSays: "" },
    };
    this.messages.push(message);
    this.#open.set(question, message);
    return message;
  }

  #close(
    message: Message,
    { index, atMs, answer, says }: Pick<AnswerSeen, "atMs" | "answer" | "says"> & { readonly index: number },
  ): void {
    Object.assign(message, { answeredAt: index, answeredMs: atMs, answer, answerSays: says });
    if (this.#open.get(message.question) === message) this.#open.delete(message.question);
  }

  #arrives(side: Side, event: string, index: number): void {
    for (const message of this.#open.values())
      if (message.to === side && message.arrivedAt === null && kinds[message.question]?.event === event)
        message.arrivedAt = index;
  }

  /** From the records alone: a state that asks was entered, or was left by an answer. */
  #bySide(
    side: Side,
    { state, event, atMs, because }: Extract<Entry, { kind: "state" }>,
    index: number,
  ): void {
    const [, answered] = /^xstate\.done\.actor\.(\w+)/.exec(event) ?? [];
    const message = answered === undefined ? undefined : this.#open.get(answered);
    if (message !== undefined) {
      const unanswered = because.some((it) => it.code === "unanswered") || state.endsWith(".waiting");
      const answer = unanswered ? "unknown" : because.length > 0 ? "failed" : "done";
      this.#close(message, { index, atMs, answer, says: because[0]?.message ?? "" });
    }
    const asked = invokedIn(side, state).filter((name) => name in kinds);
    for (const given of this.#open.values())
      if (given.from === side && !asked.includes(given.question) && !/\.waiting\b/.test(state))
        this.#close(given, { index, atMs, answer: "given up", says: "" });
    for (const question of asked) if (!this.#open.has(question)) this.#send(question, index, atMs);
  }
}
