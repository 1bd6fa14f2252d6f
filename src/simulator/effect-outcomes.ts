// The possible results of a machine's effects, and its timers.

import { failed, unknown } from "../protocol/effect-result.js";
import { carryOut, outsideKey } from "./effect-model.js";
import type { MachineState } from "./machine-model.js";
import { Memo } from "./memo.js";
import { answerKey } from "./network.js";
import { questionsOf } from "./question.js";
import type { Move, Rules } from "./rules.js";
import type { State } from "./state.js";

const no = failed("failed");
export const noAnswer = unknown("no answer");

/** A cancel or a rescue either answers or stays unknown: it cannot fail without an effect. */
const neverFails: ReadonlySet<string> = new Set(["cancel", "forceCancel"]);

export class Outcomes {
  readonly #rules: Rules;
  readonly #known = {
    source: new Memo<Move[]>(),
    destination: new Memo<Move[]>(),
    coordinator: new Memo<Move[]>(),
  };

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  from(state: State, node: MachineState): Move[] {
    // A coordinator has only requests to its peers.
    const outside = node.side === "coordinator" ? 0 : outsideKey(state);
    return this.#known[node.side].get(node.id, outside, () => [
      ...[...node.effects.keys()]
        .filter((effect) => questionsOf([effect]).length === 0)
        .flatMap((effect) => this.#ends(state, node, effect)),
      ...[...node.timers.keys()].flatMap((timer) => this.#fires(node, timer)),
    ]);
  }

  #ends(state: State, node: MachineState, effect: string): Move[] {
    const { side } = node;
    const name = `${side}.${effect}`;
    const { change, answer, harm } = carryOut(effect, state, node.effects.get(effect));
    const step = (output: NonNullable<typeof answer>) =>
      this.#rules[side].complete(node, effect, output, answerKey(output));
    const moves: Move[] = [
      {
        name: `${name} is done, its answer lost`,
        fault: true,
        change: { ...change, steps: [step(noAnswer)] },
        harm,
      },
      { name: `${name} never happens, no answer`, fault: true, change: { steps: [step(noAnswer)] } },
    ];
    if (answer !== null)
      moves.push({
        name: `${name} is done`,
        fault: false,
        change: { ...change, steps: [step(answer)] },
        harm,
      });
    if (!neverFails.has(effect))
      moves.push({ name: `${name} fails`, fault: true, change: { steps: [step(no)] } });
    return moves;
  }

  #fires(node: MachineState, timer: string): Move[] {
    const step = this.#rules[node.side].fire(node, timer);
    // Skips a timer without effect, such as the patience of a source whose policy is to wait.
    if (step.to.id === node.id && step.asked.length === 0) return [];
    const name = `${node.side}: the timer ${timer} fires`;
    return [{ name, fault: false, rare: "timer", change: { steps: [step] } }];
  }
}
