// Memoizes results for pairs of small numbers that identify values.

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

/** The factor that combines two numbers into one integer that is fast to look up. */
export const room = 2 ** 14;
