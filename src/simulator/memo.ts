// Remembers what was computed for pairs of small numbers that stand for values.

export class Memo<T> {
  readonly #known: Map<number, T>[] = [];

  get(a: number, b: number, compute: () => T): T {
    this.#known[a] ??= new Map();
    const row = this.#known[a];
    let known = row.get(b);
    if (known === undefined) {
      known = compute();
      row.set(b, known);
    }
    return known;
  }
}

/** Room for the numbers of one part beside another's; two parts fit into a number that is quick to look up. */
export const room = 2 ** 14;
