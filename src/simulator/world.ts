// Two hosts, a coordinator and the network between them, driven by the real machines. Executes one move at a time, records the
// story and checks the guarantees after each move. `settleDown` continues without faults; then one side has to run the guest.

import { coordinatorMachine } from "../machines/coordinator/machine.js";
import { destinationMachine } from "../machines/destination/machine.js";
import { sourceMachine } from "../machines/source/machine.js";
import { defaultLimits } from "../protocol/convergence/limits.js";
import { type ConvergencePolicy, noPolicy } from "../protocol/convergence/policy.js";
import { defaultDeadlines } from "../protocol/deadlines.js";
import { defaultPolicy, type Policy } from "../protocol/unreachable-policy.js";
import type { Counterexample } from "./counterexample.js";
import { describedAs, identity } from "./effect-model.js";
import { Species } from "./machine-model.js";
import { emptyNetwork } from "./network.js";
import { firstDestination, firstSource, withSource } from "./qemus.js";
import type { Move } from "./rules.js";
import { brokenAt, brokenInTheEnd, changed, State } from "./state.js";
import { Moves } from "./transitions.js";

export interface WorldOptions {
  /** Default: a client coordinates (managed). */
  readonly peerToPeer?: boolean;
  /** Default: the source waits. With `fence` both sides use the fence. */
  readonly policy?: Policy;
  /** Disks are mirrored. Default: all storage is shared. */
  readonly storage?: boolean;
  /** The operator may request post-copy. Default: false. */
  readonly postcopy?: boolean;
  /** Rules with `elapsedMs` only: this world models time but not memory. Default: none. */
  readonly convergence?: ConvergencePolicy;
  /** Default 1. */
  readonly aborts?: number;
}

const known = new Map<string, Moves>();

/** Returns the machines of a world and their moves; cached per set of options, because they memoize their states. */
export function movesOf({
  peerToPeer = false,
  policy = defaultPolicy,
  storage = false,
  postcopy = false,
  convergence = noPolicy,
}: WorldOptions): Moves {
  const key = JSON.stringify([peerToPeer, policy, storage, postcopy, convergence]);
  let moves = known.get(key);
  if (moves === undefined) {
    const both = { identity, deadlines: defaultDeadlines };
    const guest = describedAs(storage, policy.whenUnreachable === "fence");
    moves = new Moves({
      source: new Species("source", sourceMachine, { ...both, limits: defaultLimits, policy, convergence }),
      destination: new Species("destination", destinationMachine, { ...both, guest }),
      coordinator: new Species("coordinator", coordinatorMachine, both),
      peerToPeer,
      postcopy,
      dueMs: dueMsOf(convergence),
    });
    known.set(key, moves);
  }
  return moves;
}

function dueMsOf(policy: ConvergencePolicy): number[] {
  const times = policy.map(({ when: { elapsedMs, ...others } }) => {
    if (elapsedMs === undefined || Object.keys(others).length > 0)
      throw new RangeError("the simulated world supports only the condition elapsedMs");
    return elapsedMs;
  });
  return [...new Set(times)].sort((a, b) => a - b);
}

export function beginning(
  { rules: { source, coordinator } }: Moves,
  { aborts = 1, policy = defaultPolicy, storage = false }: WorldOptions,
): State {
  const [s, c] = [source.first, coordinator.first];
  const fence = policy.whenUnreachable === "fence" ? "offered" : "none";
  const state = new State(
    s.to,
    null,
    c.to,
    storage ? withSource(firstSource, { disks: "alone" }) : firstSource,
    firstDestination,
    fence,
    emptyNetwork,
    aborts,
    false,
    false,
  );
  return changed(state, { steps: [s, c] });
}

export class World {
  /** The moves so far and the reactions of the machines. */
  readonly story: string[] = [];
  state: State;
  faultsLeft: number;
  readonly #moves: Moves;
  readonly #begun: Pick<Counterexample, "world" | "faults">;
  readonly #taken: string[] = [];

  constructor(faults: number, options: WorldOptions = {}) {
    this.faultsLeft = faults;
    this.#begun = { world: options, faults };
    this.#moves = movesOf(options);
    this.state = beginning(this.#moves, options);
  }

  /** Returns the possible moves. */
  moves(): Move[] {
    const all = this.#moves.from(this.state);
    return this.faultsLeft > 0 ? all : all.filter((move) => !move.fault);
  }

  /** Executes a move. @throws BrokenGuarantee when the new state violates a guarantee. */
  take({ name, fault, change, harm }: Move): void {
    this.#taken.push(name);
    const from = this.state;
    const to = changed(from, change);
    this.story.push(`${fault ? "FAULT " : ""}${name}`);
    for (const side of ["source", "destination", "coordinator"] as const) {
      const [before, after] = [from[side], to[side]];
      if (before?.id !== after?.id)
        this.story.push(`    ${side}: ${before?.state ?? ""} --> ${after?.state}`);
    }
    this.state = to;
    if (fault) this.faultsLeft -= 1;
    const broken = harm ?? brokenAt(to);
    if (broken !== undefined) throw this.broken(broken);
  }

  /** Returns an error with all moves so far as a counterexample that can be replayed. */
  broken(what: string): BrokenGuarantee {
    const moves = [...this.#taken];
    return new BrokenGuarantee(this.story, {
      kind: "counterexample",
      version: 1,
      broken: what,
      ...this.#begun,
      moves,
    });
  }

  /**
   * Continues without faults and with all replies arriving; timers fire last. All machines have to end and one copy has to run
   * (G2, G5).
   * @throws BrokenGuarantee
   */
  settleDown(): void {
    const fired = new Map<string, number>();
    for (let turn = 0; turn < 1000; turn += 1) {
      const fair = this.#moves.from(this.state).filter((step) => !step.fault && step.rare !== "operator");
      // Fairness: no timer waits forever while others fire.
      const turns = (step: Move) => fired.get(step.name) ?? 0;
      const move =
        fair.find((step) => step.rare === undefined) ?? fair.toSorted((a, b) => turns(a) - turns(b))[0];
      if (move === undefined) break;
      if (move.rare !== undefined) fired.set(move.name, turns(move) + 1);
      this.take(move);
    }
    const broken = brokenInTheEnd(this.state);
    if (broken !== undefined) throw this.broken(broken);
  }
}

/** A violated guarantee; the message is the story that led to it. */
export class BrokenGuarantee extends Error {
  override readonly name = "BrokenGuarantee";
  constructor(
    readonly story: readonly string[],
    /** As JSON this is the input of `switchover inspect`. */
    readonly counterexample: Counterexample,
  ) {
    super(`${counterexample.broken}\n${story.join("\n")}`);
  }
}
