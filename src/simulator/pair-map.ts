// A map from two small numbers to a third, in typed arrays: a cache of computed results.

const absent = -1;

export class PairMap {
  size = 0;
  /** Two keys and a value for each slot, side by side. */
  #places = PairMap.#empty(2 ** 8);

  /** Returns -1 for an unknown pair. */
  get(a: number, b: number): number {
    const places = this.#places;
    const at = this.#placeOf(places, a, b);
    return places[at] === absent ? absent : (places[at + 2] ?? absent);
  }

  set(a: number, b: number, value: number): void {
    if (6 * this.size >= this.#places.length) this.#grow();
    const at = this.#placeOf(this.#places, a, b);
    if (this.#places[at] === absent) this.size += 1;
    this.#places[at] = a;
    this.#places[at + 1] = b;
    this.#places[at + 2] = value;
  }

  /** Returns the number of the pair, in the order of first use. */
  numberOf(a: number, b: number): number {
    const known = this.get(a, b);
    if (known !== absent) return known;
    const next = this.size;
    this.set(a, b, next);
    return next;
  }

  #placeOf(places: Int32Array, a: number, b: number): number {
    const mask = places.length / 3 - 1;
    const hash = Math.imul(Math.imul(a, 0x85ebca6b) ^ b, 0x9e3779b1);
    for (let place = (hash ^ (hash >>> 15)) & mask; ; place = (place + 1) & mask) {
      const at = 3 * place;
      const key = places[at];
      if (key === absent || (key === a && places[at + 1] === b)) return at;
    }
  }

  #grow(): void {
    const old = this.#places;
    const places = PairMap.#empty((2 * old.length) / 3);
    for (let at = 0; at < old.length; at += 3) {
      const a = old[at] ?? absent;
      const b = old[at + 1] ?? 0;
      if (a === absent) continue;
      const to = this.#placeOf(places, a, b);
      places[to] = a;
      places[to + 1] = b;
      places[to + 2] = old[at + 2] ?? 0;
    }
    this.#places = places;
  }

  static #empty(places: number): Int32Array {
    return new Int32Array(3 * places).fill(absent);
  }
}
