// Everything that can happen next in the simulated world. Each kind of move depends on a few parts of a state, and is
// computed once for each of their values.

import { Crashes } from "./crashes.js";
import { Memo } from "./memo.js";
import { Messages } from "./messages.js";
import { Outcomes } from "./outcomes.js";
import { QemuMoves } from "./qemu-moves.js";
import type { Species, Standing } from "./species.js";
import type { Change, State } from "./state.js";

export interface Move {
  readonly name: string;
  /** Costs one of the world's faults. */
  readonly fault: boolean;
  /** They wait for everything else when the world plays fair; nothing may depend on a person. */
  readonly rare?: "timer" | "person";
  readonly change: Change;
  /** What the move itself does wrong, whatever comes of it. */
  readonly harm?: string | undefined;
}

export interface Rules {
  readonly source: Species;
  readonly destination: Species;
  readonly coordinator: Species;
  /** The coordinator lives in the source's engine, and dies and wakes with it; else in a client, and dies for good. */
  readonly peerToPeer: boolean;
  /** A person asks for post-copy, at any time. */
  readonly postcopy: boolean;
  /** How long memory has been sent when the rules of the convergence policy are due, in order, in ms. */
  readonly dueMs: readonly number[];
}

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

  #add(moves: Move[], state: State, node: Standing): void {
    if (node.ended) return;
    moves.push(...this.outcomes.from(state, node), ...this.messages.answers(state, node));
  }

  askForPostcopy({ source }: State): Move[] {
    if (!this.rules.postcopy) return [];
    return this.#postcopies.get(source.id, 0, () => {
      if (!source.state.includes("postcopy.unasked")) return [];
      const steps = [this.rules.source.send(source, { type: "person.postcopyAsked" })];
      return [{ name: "a person asks for post-copy", fault: false, rare: "person", change: { steps } }];
    });
  }

  abort({ coordinator, coordinatorDied, abortsLeft }: State): Move[] {
    if (coordinatorDied || abortsLeft === 0) return [];
    return this.#persons.get(coordinator.id, abortsLeft, () => {
      if (coordinator.ended) return [];
      const step = this.rules.coordinator.send(coordinator, { type: "person.aborted" });
      const change = { steps: [step], abortsLeft: abortsLeft - 1 };
      return [{ name: "a person aborts", fault: false, rare: "person", change }];
    });
  }
}
