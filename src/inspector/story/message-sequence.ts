// Reconstructs the messages between the parties from their records: who sent a request, whether it arrived, whether the reply
// was received. When no reply was received, either the request or the reply was lost.

import type { AnswerSeen, CallSeen } from "../../effects/trace.js";
import { invokedIn } from "../../machines/shared/states.js";
import { isPeerQuestion, type PeerQuestion, questionTable } from "../../protocol/questions.js";
import type { Side } from "../../protocol/steps.js";
import type { Entry } from "./moment.js";

export interface Message {
  readonly question: PeerQuestion;
  readonly from: Side;
  readonly to: Side;
  readonly says: string;
  /** Index of the entry, from 0. */
  readonly sentAt: number;
  readonly sentMs: number;
  arrivedAt: number | null;
  answeredAt: number | null;
  answeredMs: number | null;
  /** Null until the reply is known. */
  answer: AnswerSeen["answer"] | null;
  answerSays: string;
}

/**
 * Returns the state of a message. `lost`: the request did not arrive. `answer lost`: it arrived, but its reply was not received.
 * `given up`: the sender continued without a reply.
 */
export function fateOf(message: Message): "asked" | "answered" | "lost" | "answer lost" | "given up" {
  if (message.answer === "given up") return message.answer;
  if (message.answer === "unknown") return message.arrivedAt === null ? "lost" : "answer lost";
  return message.answeredAt === null ? "asked" : "answered";
}

/** The event with which the receiving side records the request; `opened` when the request starts that side. */
const arrivesAs = (question: PeerQuestion): string => questionTable[question].event ?? "opened";

/** Collects messages entry by entry, in order. */
export class Exchange {
  readonly messages: Message[] = [];
  #count = 0;
  /** Calls are observed in addition to records; where they exist, they are more precise. */
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

  /** A retried request is not recorded again; its reply is, when the side continues with it. */
  #again(side: Side, answered: string, index: number, atMs: number): Message | undefined {
    const isAsked = isPeerQuestion(answered) && questionTable[answered].from === side;
    return isAsked ? this.#send(answered, index, atMs) : undefined;
  }

  /** The state that makes the first call was reported before the call. */
  #knownByState({ place, side, call }: CallSeen): Message | undefined {
    return call === 1 && isPeerQuestion(place) && questionTable[place].from === side
      ? this.#open.get(place)
      : undefined;
  }

  #send(question: string, index: number, atMs: number): Message | undefined {
    if (!isPeerQuestion(question)) return undefined;
    const { from, to, says } = questionTable[question];
    const message: Message = {
      question,
      from,
      to,
      says,
      sentAt: index,
      sentMs: atMs,
      arrivedAt: null,
      answeredAt: null,
      answeredMs: null,
      answer: null,
      answerSays: "",
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
      if (message.to === side && message.arrivedAt === null && arrivesAs(message.question) === event)
        message.arrivedAt = index;
  }

  /** Uses records only: a state that sends a request was entered, or a reply caused the side to leave it. */
  #bySide(
    side: Side,
    { state, event, atMs, because }: Extract<Entry, { kind: "state" }>,
    index: number,
  ): void {
    const [, answered] = /^xstate\.done\.actor\.(\w+)/.exec(event) ?? [];
    const message =
      answered === undefined
        ? undefined
        : (this.#open.get(answered) ?? this.#again(side, answered, index, atMs));
    if (message !== undefined) {
      const unanswered =
        because.some((failure) => failure.code === "unanswered") || state.endsWith(".waiting");
      const answer = unanswered ? "unknown" : because.length > 0 ? "failed" : "done";
      this.#close(message, { index, atMs, answer, says: because[0]?.message ?? "" });
    }
    const asked = invokedIn(side, state).filter(isPeerQuestion);
    for (const given of this.#open.values())
      if (given.from === side && !asked.includes(given.question) && !/\.waiting\b/.test(state))
        this.#close(given, { index, atMs, answer: "given up", says: "" });
    for (const question of asked) if (!this.#open.has(question)) this.#send(question, index, atMs);
  }
}
