// A growing typed array of numbers.

export class Column {
  #numbers = new Int32Array(2 ** 6);

  /** Returns 0 where no number was set. */
  at(index: number): number {
    return this.#numbers[index] ?? 0;
  }

  set(index: number, value: number): void {
    if (index >= this.#numbers.length) {
      const more = new Int32Array(Math.max(index + 1, 2 * this.#numbers.length));
      more.set(this.#numbers);
      this.#numbers = more;
    }
    this.#numbers[index] = value;
  }
}
