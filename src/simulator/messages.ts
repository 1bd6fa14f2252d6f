// Delivery of requests (late, in any order, after the sender has given up, or twice) and of their replies, which reflect the
// state at the time of the reply.

import type { AnyMachineSnapshot } from "xstate";
import * as machine from "../machines/replies.js";
import type { Answer } from "../protocol/effect-result.js";
import { questionTable } from "../protocol/questions.js";
import { preparedAt } from "./effect-model.js";
import { noAnswer } from "./effect-outcomes.js";
import type { MachineState, Step } from "./machine-model.js";
import { Memo, room } from "./memo.js";
import { answerKey } from "./network.js";
import { addressee, type Question, questionsOf } from "./question.js";
import type { Move, Rules } from "./rules.js";
import type { State } from "./state.js";

/**
 * Requests whose answer may change, so that an outdated reply can still be in transit. All others are answered from states that
 * are never left again: the time at which their reply arrives is irrelevant.
 */
const mayChange: ReadonlySet<Question> = new Set([
  "askPrepare",
  "askPerform",
  "askAbort",
  "announcePostcopy",
  "reconnect",
]);

export class Messages {
  readonly #rules: Rules;
  readonly #answers = {
    source: new Memo<Move[]>(),
    destination: new Memo<Move[]>(),
    coordinator: new Memo<Move[]>(),
  };
  readonly #deliveries = new Memo<Move[]>();

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  /** Returns the moves that end a pending request: its reply arrives, or its deadline passes. */
  answers(state: State, node: MachineState): Move[] {
    const [question] = questionsIn(node);
    if (question === undefined) return [];
    // All requests that are pending at the same time go to the same side.
    const asked = state[addressee(question)];
    const rest = (asked?.id ?? -1) + 1 + room * state.network.waitsId;
    return this.#answers[node.side].get(node.id, rest, () =>
      questionsIn(node).flatMap((pending) => this.answersTo(pending, state, node)),
    );
  }

  answersTo(question: Question, state: State, node: MachineState): Move[] {
    const name = `${node.side}.${question}`;
    const end = (answer: Answer<unknown>) => ({
      steps: [this.#rules[node.side].complete(node, question, answer, answerKey(answer))],
    });
    const late: Move = { name: `${name}: no answer comes in time`, fault: true, change: end(noAnswer) };
    const wait = state.network.waits.get(question);
    if (typeof wait === "object")
      return [late, { name: `${name}: the answer arrives`, fault: false, change: end(wait.answer) }];
    const side = addressee(question);
    const asked = { source: undefined, destination: undefined, [side]: state[side]?.snapshot };
    const answer = wait === "arrived" ? replyTo(question, asked) : undefined;
    if (answer === undefined) {
      // A restarted engine no longer knows that the guest was handed over: its source asks again.
      if (question === "handOver" && wait === "arrived")
        return [{ ...late, name: `${name}: its deadline passes`, fault: false, rare: "timer" }];
      return [late];
    }
    if (this.#isCall(question)) return [{ name: `${name} is answered`, fault: false, change: end(answer) }];
    const change = mayChange.has(question) ? { message: { answered: question, answer } } : end(answer);
    return [late, { name: `${name} is answered`, fault: false, change }];
  }

  /** Messages between a coordinator and a source in the same engine are never lost, late or duplicated. */
  #isCall(question: Question): boolean {
    return this.#rules.peerToPeer && addressee(question) === "source";
  }

  deliveries(state: State): Move[] {
    const { network, source, destination } = state;
    if (network.underWay.size === 0) return [];
    const both = source.id + room * ((destination?.id ?? -1) + 1);
    return this.#deliveries.get(network.id, both, () =>
      [...network.underWay.keys()].flatMap((question) => this.delivery(question, state)),
    );
  }

  delivery(question: Question, state: State): Move[] {
    const step = this.#told(state, question);
    const steps = step === undefined ? [] : [step];
    const change = (again: boolean) => ({ message: { arrives: question, again }, steps });
    const arrives: Move = { name: `${question} arrives`, fault: false, change: change(false) };
    if (this.#isCall(question)) return [arrives];
    return [
      arrives,
      { name: `${question} arrives and will arrive again`, fault: true, change: change(true) },
    ];
  }

  #told(state: State, question: Question): Step | undefined {
    const side = addressee(question);
    const node = state[side];
    if (question === "askPrepare" && node === null) return this.#rules.destination.first;
    const type = questionTable[question].event;
    if (node === null || node.ended || type === null) return undefined;
    const event = { type, ...(question === "askPerform" && { prepared: preparedAt }) };
    return this.#rules[side].send(node, event);
  }
}

const questionsOfNodes = new WeakMap<MachineState, readonly Question[]>();
function questionsIn(node: MachineState): readonly Question[] {
  let questions = questionsOfNodes.get(node);
  if (questions === undefined) {
    questions = questionsOf(node.effects.keys());
    questionsOfNodes.set(node, questions);
  }
  return questions;
}

/** Returns the current answer of the receiving side; undefined while it does not have one. */
export function replyTo(
  question: Question,
  asked: {
    readonly source: AnyMachineSnapshot | undefined;
    readonly destination: AnyMachineSnapshot | undefined;
  },
): Answer<unknown> | undefined {
  const source = asked.source as machine.SourceSnapshot;
  const destination = asked.destination as machine.DestinationSnapshot | undefined;
  if (question === "askPrepare") return destination && machine.replyToPrepare(destination);
  if (isOfSource(question)) return machine.sourceReplies[question](source);
  const { read, unprepared } = machine.destinationReplies[question];
  return destination ? read(destination) : unprepared;
}

const isOfSource = (question: Question): question is keyof typeof machine.sourceReplies =>
  question in machine.sourceReplies;
