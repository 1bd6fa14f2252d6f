// Returns all moves of the simulated world. Each kind of move depends on a few parts of a state and is computed once for each
// combination of their values.

import { Crashes } from "./crashes.js";
import { Outcomes } from "./effect-outcomes.js";
import type { MachineState } from "./machine-model.js";
import { Memo } from "./memo.js";
import { Messages } from "./messages.js";
import { QemuMoves } from "./qemu-transitions.js";
import type { Move, Rules } from "./rules.js";
import type { State } from "./state.js";

export class Moves {
  readonly rules: Rules;
  readonly outcomes: Outcomes;
  readonly messages: Messages;
  readonly qemus: QemuMoves;
  readonly crashes: Crashes;
  readonly #persons = new Memo<Move[]>();
  readonly #postcopies = new Memo<Move[]>();

  constructor(rules: Rules) {
    this.rules = rules;
    this.outcomes = new Outcomes(rules);
    this.messages = new Messages(rules);
    this.qemus = new QemuMoves(rules);
    this.crashes = new Crashes(rules);
  }

  from(state: State): Move[] {
    const moves: Move[] = [];
    const { source, destination, coordinator, coordinatorDied } = state;
    this.#add(moves, state, source);
    if (destination !== null) this.#add(moves, state, destination);
    if (!coordinatorDied) this.#add(moves, state, coordinator);
    moves.push(...this.messages.deliveries(state), ...this.qemus.from(state), ...this.crashes.from(state));
    moves.push(...this.abort(state), ...this.askForPostcopy(state));
    return moves;
  }

  #add(moves: Move[], state: State, node: MachineState): void {
    if (node.ended) return;
    moves.push(...this.outcomes.from(state, node), ...this.messages.answers(state, node));
  }

  askForPostcopy({ source }: State): Move[] {
    if (!this.rules.postcopy) return [];
    return this.#postcopies.get(source.id, 0, () => {
      if (!source.state.includes("postcopy.unasked")) return [];
      const steps = [this.rules.source.send(source, { type: "operator.postcopyRequested" })];
      return [{ name: "the operator requests post-copy", fault: false, rare: "operator", change: { steps } }];
    });
  }

  abort({ coordinator, coordinatorDied, abortsLeft }: State): Move[] {
    if (coordinatorDied || abortsLeft === 0) return [];
    return this.#persons.get(coordinator.id, abortsLeft, () => {
      if (coordinator.ended) return [];
      const step = this.rules.coordinator.send(coordinator, { type: "operator.aborted" });
      const change = { steps: [step], abortsLeft: abortsLeft - 1 };
      return [{ name: "the operator aborts", fault: false, rare: "operator", change }];
    });
  }
}
