// Two hosts, a coordinator and the network between them, run by the real machines. One move at a time, with its story; the
// guarantees are checked after each. `settleDown` plays without faults, and then somebody has to run the guest.

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
  /** Default: the source waits. With `fence` both sides have one. */
  readonly policy?: Policy;
  /** Disks are copied. Default: all storage is shared. */
  readonly storage?: boolean;
  /** A person may ask for post-copy. Default: false. */
  readonly postcopy?: boolean;
  /** Rules by `elapsedMs` alone: in this world time passes, and memory does not. Default: none. */
  readonly convergence?: ConvergencePolicy;
  /** Default 1. */
  readonly aborts?: number;
}

const known = new Map<string, Moves>();

/** The machines of such a world and what they can do; kept, since they remember what they have met. */
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
      throw new RangeError("the simulated world knows no condition but elapsedMs");
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
  /** What has happened, and what the machines did. */
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

  /** What can happen now. */
  moves(): Move[] {
    const all = this.#moves.from(this.state);
    return this.faultsLeft > 0 ? all : all.filter((move) => !move.fault);
  }

  /** @throws BrokenGuarantee when one does not hold then. */
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

  /** What has happened so far, to be played again. */
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
   * No more faults, everything answers, timers fire last: all machines have to end, and one copy to run (G2, G5).
   * @throws BrokenGuarantee
   */
  settleDown(): void {
    const fired = new Map<string, number>();
    for (let turn = 0; turn < 1000; turn += 1) {
      const fair = this.#moves.from(this.state).filter((step) => !step.fault && step.rare !== "operator");
      // No timer waits for ever while others fire.
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

/** A guarantee does not hold; the message is the story that led here. */
export class BrokenGuarantee extends Error {
  override readonly name = "BrokenGuarantee";
  constructor(
    readonly story: readonly string[],
    /** As JSON it is what `switchover inspect` shows. */
    readonly counterexample: Counterexample,
  ) {
    super(`${counterexample.broken}\n${story.join("\n")}`);
  }
}
