// Determines from which states a goal is reachable, by a backward search over recorded transitions.

/** A compact list of pairs of numbers. */
export class Pairs {
  #numbers = new Uint32Array(2 ** 16);
  #length = 0;

  push(a: number, b: number): void {
    if (this.#length === this.#numbers.length) {
      const more = new Uint32Array(2 * this.#length);
      more.set(this.#numbers);
      this.#numbers = more;
    }
    this.#numbers[this.#length] = a;
    this.#numbers[this.#length + 1] = b;
    this.#length += 2;
  }

  get all(): Uint32Array {
    return this.#numbers.subarray(0, this.#length);
  }
}

/** Returns the first state from which none of `goals` is reachable; it is the nearest to the start. */
export function unreached(states: number, pairs: Pairs, goals: readonly number[]): number | undefined {
  const edges = pairs.all;
  const starts = new Uint32Array(states + 1);
  for (let i = 1; i < edges.length; i += 2) {
    const after = (edges[i] ?? 0) + 1;
    starts[after] = (starts[after] ?? 0) + 1;
  }
  for (let i = 0; i < states; i += 1) starts[i + 1] = (starts[i + 1] ?? 0) + (starts[i] ?? 0);
  const fill = starts.slice();
  const before = new Uint32Array(edges.length / 2);
  for (let i = 0; i < edges.length; i += 2) {
    const to = edges[i + 1] ?? 0;
    const slot = fill[to] ?? 0;
    fill[to] = slot + 1;
    before[slot] = edges[i] ?? 0;
  }
  const reached = new Uint8Array(states);
  const open = [...goals];
  for (const goal of goals) reached[goal] = 1;
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    for (let i = starts[state] ?? 0; i < (starts[state + 1] ?? 0); i += 1) {
      const value = before[i] ?? 0;
      if (reached[value] === 1) continue;
      reached[value] = 1;
      open.push(value);
    }
  }
  const lost = reached.indexOf(0);
  return lost === -1 ? undefined : lost;
}
