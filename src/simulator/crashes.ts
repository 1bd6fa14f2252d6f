// Engines that die and are restarted from their journals, and a client that dies permanently. An effect in progress may or may
// not have happened; events that a QEMU emitted meanwhile are lost.

import { carryOut, type Outside, outsideKey } from "./effect-model.js";
import type { MachineState, Step } from "./machine-model.js";
import { Memo } from "./memo.js";
import { unheard } from "./qemus.js";
import { questionsOf } from "./question.js";
import type { Move, Rules } from "./rules.js";
import type { State } from "./state.js";

export class Crashes {
  readonly #rules: Rules;
  readonly #source = new Memo<Move[]>();
  readonly #destination = new Memo<Move[]>();
  readonly #client = new Memo<Move[]>();

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  from(state: State): Move[] {
    return [
      ...this.atSource(state),
      ...this.atDestination(state),
      ...this.ofClient(state),
      ...this.ofOffer(state),
    ];
  }

  /** In peer-to-peer mode the moves depend on the coordinator too. */
  atSource(state: State): Move[] {
    const { source } = state;
    const moves = this.#source.get(source.id, outsideKey(state), () => this.#sourceDies(state));
    return this.#rules.peerToPeer ? this.#withCoordinator(state, moves) : moves;
  }

  atDestination(state: State): Move[] {
    const { destination } = state;
    if (destination === null) return [];
    return this.#destination.get(destination.id, outsideKey(state), () =>
      this.#destinationDies(state, destination),
    );
  }

  ofClient({ coordinator, coordinatorDied }: State): Move[] {
    if (this.#rules.peerToPeer || coordinatorDied) return [];
    return this.#client.get(coordinator.id, 0, () => clientDies(coordinator));
  }

  ofOffer({ fence }: State): Move[] {
    return fence === "offered" ? [expires] : [];
  }

  /** The coordinator dies and restarts with the source in the same engine; also when the source has already ended. */
  #withCoordinator({ coordinator }: State, moves: readonly Move[]): Move[] {
    if (coordinator.ended) return [...moves];
    const step = this.#rules.coordinator.wake(coordinator);
    const alone: Move = { name: "the source's engine is killed and restarted", fault: true, change: {} };
    return (moves.length === 0 ? [alone] : moves).map((move) => ({
      ...move,
      change: { ...move.change, steps: [...(move.change.steps ?? []), step] },
    }));
  }

  #sourceDies(state: State): Move[] {
    const { source } = state;
    if (source.ended) return [];
    // Perform is answered before `handedOver` is durable: QEMU itself preserves the state `completed`.
    const lastRecorded = source.state === "handedOver" ? ["handedOver", "switchingOver"] : [source.state];
    return halfDone(state, source).flatMap(({ how, change, harm }) =>
      lastRecorded.map((last) => {
        const when = last === source.state ? "" : `, ${source.state} not being durable yet,`;
        return {
          name: `the source's engine is killed${how}${when} and restarted`,
          fault: true,
          change: {
            ...change,
            qemuS: unheard.source(change.qemuS ?? state.qemuS),
            steps: [this.#rules.source.wake(source, last)],
          },
          harm,
        };
      }),
    );
  }

  #destinationDies(state: State, destination: MachineState): Move[] {
    if (destination.ended) return [];
    return halfDone(state, destination).map(({ how, change, harm }) => ({
      name: `the destination's engine is killed${how} and restarted`,
      fault: true,
      change: {
        ...change,
        qemuD: unheard.destination(change.qemuD ?? state.qemuD),
        steps: [this.#rules.destination.wake(destination)],
      },
      harm,
    }));
  }
}

/** The lease of the offer was not renewed; a claimed offer does not expire. */
const expires: Move = { name: "the offer at the fence expires", fault: true, change: { fence: "gone" } };

function clientDies(coordinator: MachineState): Move[] {
  if (coordinator.ended) return [];
  const unasked = questionsOf(coordinator.effects.keys());
  const step: Step = { to: coordinator, asked: [], unasked, event: { type: "died" } };
  return [{ name: "the client dies", fault: true, change: { coordinatorDied: true, steps: [step] } }];
}

/** Returns both cases: the effect in progress has not happened yet, or it has. */
function halfDone(outside: Outside, node: MachineState) {
  const effect = [...node.effects.keys()].find((key) => questionsOf([key]).length === 0);
  const notYet = { how: "", change: {} as Partial<Outside>, harm: undefined };
  if (effect === undefined) return [notYet];
  const { change, harm } = carryOut(effect, outside, node.effects.get(effect));
  return [notYet, { how: ` right after ${effect}`, change, harm }];
}
