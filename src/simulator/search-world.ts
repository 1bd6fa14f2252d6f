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
   * same successors each time.
   */
  successors(states: Int32Array, at: number, faults: boolean, into: Successors): void;
  /** The name of a move that `successors` has appended, and the guarantee that it breaks whatever state it leads to. */
  describe(move: number): { readonly name: string; readonly harm?: string | undefined };
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
  /** By successor: the world's number for the move, and its kind. */
  moves = new Int32Array(64);
  kinds = new Uint8Array(64);
  /** Whether one of the moves breaks a guarantee by itself. */
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

  /** Returns where in `states` the caller has to write the new successor. */
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
