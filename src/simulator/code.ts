// A growing list of integers: the compiled moves of a packed world.

/**
 * Moves encoded as integers, so that the moves of one combination are read from memory sequentially. A list is its length and
 * its moves. A move is its number, its kind, whether it is harmful, a bit mask of the merges that follow, the number of maps,
 * the maps, and for each word of the state a mask of the bits that remain and the bits to set.
 */
export class Code {
  at = new Int32Array(2 ** 12);
  /** 0 means that there is no list. */
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
