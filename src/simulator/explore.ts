// Exhaustive search over any world: every order of all moves, up to a number of faults. It finds the shortest trace to a state
// that violates a guarantee, or shows that there is none; and it shows that from every state a good end can be reached by calm
// moves alone once faults stop (G2, G5).

import { Column } from "./column.js";
import { Pairs, unreached } from "./liveness.js";
import { moveKinds, type SearchWorld, Successors } from "./search-world.js";
import { StateTable } from "./state-table.js";

export interface ExploreOptions {
  readonly faults: number;
  /** Default: unlimited. */
  readonly maxStates?: number;
}

export interface Explored {
  readonly states: number;
  readonly transitions: number;
  /** The number of states without a calm move. */
  readonly ends: number;
  /** False when the search stopped at `maxStates`; the remaining states were not checked. */
  readonly whole: boolean;
  /** The shortest trace to a violation: fewest faults first, then fewest moves. */
  readonly broken?: BrokenTrace;
}

export interface BrokenTrace {
  readonly guarantee: string;
  /** The names of the moves, and the words of the state after each. */
  readonly moves: readonly { readonly name: string; readonly to: Int32Array }[];
}

export function explore(world: SearchWorld, options: ExploreOptions): Explored {
  return new Exploration(world, options).run();
}

/** The first state has no parent. */
const none = -1;
/** A good end has no calm successor. */
const goodEnd = -1;

class Exploration {
  readonly #world: SearchWorld;
  readonly #faults: number;
  readonly #maxStates: number;
  readonly #table: StateTable;
  readonly #successors: Successors;
  /** For each state, the state from which it was first reached. */
  readonly #parents = new Column();
  /** For each state, a calm successor, preferably a different state; `goodEnd` when there is no calm move. */
  readonly #onward = new Column();
  /** The numbers of the successors. */
  #ids = new Int32Array(64);
  #transitions = 0;
  #ends = 0;
  #broken: BrokenTrace | undefined;

  constructor(world: SearchWorld, { faults, maxStates = Infinity }: ExploreOptions) {
    this.#world = world;
    this.#faults = faults;
    this.#maxStates = maxStates;
    this.#table = new StateTable(world.words);
    this.#successors = new Successors(world.words);
  }

  run(): Explored {
    const table = this.#table;
    table.add(this.#world.first, 0);
    this.#parents.set(0, none);
    // A state is first reached with the most faults left, and every move that is possible with fewer faults is possible with
    // more: expanding each state once is sufficient. States reached with the same number of faults are consecutive.
    let begin = 0;
    for (let faultsLeft = this.#faults; begin < table.size && this.#isOpen; faultsLeft -= 1) {
      let id = begin;
      for (; id < table.size && this.#isOpen; id += 1) this.#expand(id);
      const end = table.size;
      if (faultsLeft === 0) break;
      // Faults follow only after all states of this level have been expanded without them.
      for (id = begin; id < end && this.#isOpen; id += 1) this.#visit(id, true);
      begin = end;
    }
    const whole = table.size < this.#maxStates;
    if (whole && this.#broken === undefined) this.#findLost();
    return {
      states: table.size,
      transitions: this.#transitions,
      ends: this.#ends,
      whole,
      ...(this.#broken !== undefined && { broken: this.#broken }),
    };
  }

  get #isOpen(): boolean {
    return this.#broken === undefined && this.#table.size < this.#maxStates;
  }

  #expand(id: number): void {
    const at = id * this.#world.words;
    const broken = this.#world.broken(this.#table.states, at);
    if (broken !== undefined) {
      this.#tell(id, broken);
      return;
    }
    this.#visit(id, false);
    if (this.#onward.at(id) !== goodEnd) return;
    const brokenThen = this.#world.brokenInTheEnd(this.#table.states, at);
    if (brokenThen !== undefined) {
      this.#tell(id, brokenThen);
      return;
    }
    this.#ends += 1;
  }

  /** Adds the successors of a state, either those by faults or all others; for the latter it records a calm successor. */
  #visit(id: number, faults: boolean): void {
    const { words } = this.#world;
    const successors = this.#successors;
    const table = this.#table;
    successors.clear();
    this.#world.successors(table.states, id * words, faults, successors);
    const { count, kinds, states, moves } = successors;
    if (count > this.#ids.length) this.#ids = new Int32Array(2 * count);
    const ids = this.#ids;
    let known = table.size;
    table.addAll(states, count, ids);
    this.#transitions += count;
    let onward = goodEnd;
    for (let pick = 0; pick < count; pick += 1) {
      const to = ids[pick] ?? 0;
      if (to === known) {
        this.#parents.set(to, id);
        known += 1;
      }
      if (kinds[pick] === moveKinds.calm && (onward === goodEnd || onward === id)) onward = to;
    }
    if (!faults) this.#onward.set(id, onward);
    if (!successors.harmful) return;
    const last = moves.subarray(0, count).findIndex((move) => this.#world.describe(move).harm !== undefined);
    this.#tell(id, this.#world.describe(moves[last] ?? 0).harm ?? "", last);
  }

  /** Stores the trace to the state; `last` is an additional move, one of the successors computed last. */
  #tell(id: number, guarantee: string, last?: number): void {
    const { words } = this.#world;
    const successors = this.#successors;
    const moves: { name: string; to: Int32Array }[] = [];
    if (last !== undefined)
      moves.push({
        name: this.#world.describe(successors.moves[last] ?? 0).name,
        to: successors.states.slice(last * words, (last + 1) * words),
      });
    for (let to = id; this.#parents.at(to) !== none; to = this.#parents.at(to))
      moves.unshift(this.#moveTo(to));
    this.#broken = { guarantee, moves };
  }

  /** Returns the move by which the state was first reached. */
  #moveTo(id: number): { name: string; to: Int32Array } {
    const { words } = this.#world;
    const successors = this.#successors;
    const to = this.#table.states.slice(id * words, (id + 1) * words);
    for (const faults of [false, true]) {
      successors.clear();
      this.#world.successors(this.#table.states, this.#parents.at(id) * words, faults, successors);
      for (let pick = 0; pick < successors.count; pick += 1)
        if (to.every((word, i) => word === successors.states[pick * words + i]))
          return { name: this.#world.describe(successors.moves[pick] ?? 0).name, to };
    }
    throw new Error(`no move leads to state ${id}: equal states of this world must have the same successors`);
  }

  /** Finds a state from which calm moves cannot reach a good end. */
  #findLost(): void {
    const open = this.#unresolved();
    const indexes = new Column();
    for (const [index, id] of open.entries()) indexes.set(id, index + 1);
    const { words } = this.#world;
    const successors = this.#successors;
    const edges = new Pairs();
    const goals: number[] = [];
    for (const [index, id] of open.entries()) {
      successors.clear();
      this.#world.successors(this.#table.states, id * words, false, successors);
      for (let pick = 0; pick < successors.count; pick += 1) {
        if (successors.kinds[pick] !== moveKinds.calm) continue;
        const to = indexes.at(this.#table.add(successors.states, pick * words));
        if (to === 0) goals.push(index);
        else edges.push(index, to - 1);
      }
    }
    const lost = unreached(open.length, edges, goals);
    if (lost !== undefined) this.#tell(open[lost] ?? 0, "G2, G5: no good end is reachable from here");
  }

  /**
   * Follows the one recorded calm move from each state: almost all of these paths lead to a good end. Returns the states whose
   * path is a cycle, in order; only their other moves need to be examined.
   */
  #unresolved(): number[] {
    const unknown = 0;
    const good = 1;
    const circling = 2;
    const verdicts = new Uint8Array(this.#table.size);
    for (let id = 0; id < verdicts.length; id += 1) {
      const way: number[] = [];
      let value = id;
      while (value !== goodEnd && verdicts[value] === unknown) {
        verdicts[value] = circling;
        way.push(value);
        value = this.#onward.at(value);
      }
      const verdict = value === goodEnd ? good : (verdicts[value] ?? circling);
      for (const passed of way) verdicts[passed] = verdict;
    }
    const open: number[] = [];
    for (let id = 0; id < verdicts.length; id += 1) if (verdicts[id] === circling) open.push(id);
    return open;
  }
}
