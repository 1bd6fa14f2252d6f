// The interface between the exhaustive search (explore.ts) and a world. A world is a set of states, each a record of
// `words` 32-bit integers, and the moves between them. The search stores states by their words and compares them exactly:
// two states with equal words are one state. packed-world.ts builds such a world from components and rules.

/** The cause of a move. The search treats the three kinds differently. */
export const moveKinds = {
  /** Happens by itself: an effect ends, a message arrives, a timer fires. A good end must be reachable by these alone. */
  calm: 0,
  /** An operator or a client requests it. It may happen, but no guarantee may depend on it. */
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
   * same successors each time.
   */
  successors(states: Int32Array, at: number, faults: boolean, into: Successors): void;
  /** Returns the name of a move that `successors` has appended, and the guarantee that the move itself violates. */
  describe(move: number): { readonly name: string; readonly harm?: string | undefined };
  /** Returns the guarantee that the state violates. Called once for each state, before its successors are computed. */
  broken(states: Int32Array, at: number): string | undefined;
  /** Returns the guarantee that is violated if nothing more happens. Called only for a state without a calm move. */
  brokenInTheEnd(states: Int32Array, at: number): string | undefined;
}

/** The successors of one state. One object is used for all states, so that the search allocates nothing. */
export class Successors {
  count = 0;
  /** The states, stored contiguously. */
  states: Int32Array;
  /** For each successor: the world's number of the move, and its kind. */
  moves = new Int32Array(64);
  kinds = new Uint8Array(64);
  /** Whether one of the moves itself violates a guarantee. */
  harmful = false;
  readonly #words: number;

  constructor(words: number) {
    this.#words = words;
    this.states = new Int32Array(64 * words);
  }

  clear(): void {
    this.count = 0;
    this.harmful = false;
  }

  /** Returns the position in `states` at which the caller has to write the new successor. */
  append(move: number, kind: MoveKind, harmful: boolean): number {
    if (this.count === this.moves.length) this.#grow();
    this.moves[this.count] = move;
    this.kinds[this.count] = kind;
    if (harmful) this.harmful = true;
    this.count += 1;
    return (this.count - 1) * this.#words;
  }

  #grow(): void {
    const { states, moves, kinds } = this;
    this.states = new Int32Array(2 * states.length);
    this.states.set(states);
    this.moves = new Int32Array(2 * moves.length);
    this.moves.set(moves);
    this.kinds = new Uint8Array(2 * kinds.length);
    this.kinds.set(kinds);
  }
}
