// A growing list of integers: the compiled moves of a packed world.

/**
 * Moves as a list of integers, so that the moves of one combination are read from memory one behind the other. A list is its
 * length and its moves; a move is its number, its kind, whether it is harmful, the merges that follow (a bit each), the
 * number of maps, the maps, and for each word what remains of it and what is set in it.
 */
export class Code {
  at = new Int32Array(2 ** 12);
  /** 0 stands for no list. */
  length = 1;

  append(...numbers: readonly number[]): void {
    if (this.length + numbers.length > this.at.length) {
      const more = new Int32Array(2 * (this.length + numbers.length));
      more.set(this.at);
      this.at = more;
    }
    this.at.set(numbers, this.length);
    this.length += numbers.length;
  }
}
