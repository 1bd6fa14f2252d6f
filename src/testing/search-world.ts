// What the exhaustive search (explore.ts) needs of a world, and nothing else. A world is a set of states, each a record of
// `words` 32-bit integers, and the moves between them. The search stores states by their words and compares them exactly:
// two states with equal words are one state. packed-world.ts builds such a world from components and rules.

/** Who causes a move. The search treats the three kinds differently. */
export const moveKinds = {
  /** Happens by itself: an effect ends, a message arrives, a timer fires. A good end must be reachable by these alone. */
  calm: 0,
  /** An operator or a client asks for it. It may happen, and no guarantee may depend on it. */
  requested: 1,
  /** Costs one of the search's faults. */
  fault: 2,
} as const;
export type MoveKind = (typeof moveKinds)[keyof typeof moveKinds];

export interface SearchWorld {
  /** The number of 32-bit integers in a state. */
  readonly words: number;
  readonly first: Int32Array;
  /**
   * Appends the successors of the state that begins at `states[at]`: those by faults, or all others. An equal state has the
   * same successors in the same order each time.
   */
  successors(states: Int32Array, at: number, faults: boolean, into: Successors): void;
  /** Returns the guarantee that the state breaks. Called once for each state, before its successors are asked for. */
  broken(states: Int32Array, at: number): string | undefined;
  /** Returns the guarantee that is broken if nothing more happens. Called only for a state without a calm move. */
  brokenInTheEnd(states: Int32Array, at: number): string | undefined;
}

/** The successors of one state. One object is used for all states, so that the search allocates nothing. */
export class Successors {
  count = 0;
  /** The states, one behind the other. */
  states: Int32Array;
  kinds: MoveKind[] = [];
  names: string[] = [];
  /** The guarantee that a move breaks by itself, whatever state it leads to. */
  harms: (string | undefined)[] = [];
  readonly #words: number;

  constructor(words: number) {
    this.#words = words;
    this.states = new Int32Array(64 * words);
  }

  /** Returns where in `states` the caller has to write the new successor. */
  append(name: string, kind: MoveKind, harm: string | undefined): number {
    const at = this.count * this.#words;
    if (at === this.states.length) {
      const more = new Int32Array(2 * this.states.length);
      more.set(this.states);
      this.states = more;
    }
    this.kinds[this.count] = kind;
    this.names[this.count] = name;
    this.harms[this.count] = harm;
    this.count += 1;
    return at;
  }
}
