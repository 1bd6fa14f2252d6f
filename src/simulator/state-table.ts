// The states that a search has reached, numbered in the order of discovery. Stores each state exactly, as
// fixed-width records in one typed array, and finds it by open addressing: about 20 bytes for a state of three words.

export class StateTable {
  size = 0;
  /** The words of all states, stored contiguously. Replaced when the table grows. */
  states: Int32Array;
  /** Keeps the second pass of `addAll` from being optimized away. */
  lastRead = 0;
  readonly #words: number;
  /** The number of the state plus 1; 0 marks a free slot. */
  #places = new Int32Array(2 ** 12);

  constructor(words: number) {
    this.#words = words;
    this.states = new Int32Array(2 ** 11 * words);
  }

  /**
   * Returns the number of the state at `from[at]`. Adds the state if it is new: its number is then the old `size`.
   */
  add(from: Int32Array, at: number): number {
    const words = this.#words;
    if (3 * this.size >= 2 * this.#places.length) this.#growPlaces();
    const places = this.#places;
    const mask = places.length - 1;
    let place = this.#hash(from, at) & mask;
    for (let found = places[place] ?? 0; found !== 0; found = places[place] ?? 0) {
      const known = (found - 1) * words;
      let word = 0;
      while (word < words && this.states[known + word] === from[at + word]) word += 1;
      if (word === words) return found - 1;
      place = (place + 1) & mask;
    }
    const id = this.size;
    const end = id * words;
    if (end === this.states.length) this.#growStates();
    for (let word = 0; word < words; word += 1) this.states[end + word] = from[at + word] ?? 0;
    places[place] = id + 1;
    this.size += 1;
    return id;
  }

  /**
   * Adds the first `count` states of `from` and writes their numbers. A lookup is dominated by memory latency: each pass only
   * starts the reads that the next one needs, so that the latencies of all states overlap.
   */
  addAll(from: Int32Array, count: number, ids: Int32Array): void {
    const words = this.#words;
    const places = this.#places;
    const mask = places.length - 1;
    for (let i = 0; i < count; i += 1) ids[i] = places[this.#hash(from, i * words) & mask] ?? 0;
    let read = 0;
    for (let i = 0; i < count; i += 1) read ^= this.states[((ids[i] ?? 1) - 1) * words] ?? 0;
    this.lastRead = read;
    for (let i = 0; i < count; i += 1) ids[i] = this.add(from, i * words);
  }

  #hash(from: Int32Array, at: number): number {
    let hash = 0;
    for (let word = 0; word < this.#words; word += 1) {
      hash = Math.imul(hash ^ (from[at + word] ?? 0), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    hash = Math.imul(hash, 0x85ebca6b);
    return hash ^ (hash >>> 13);
  }

  #growStates(): void {
    const more = new Int32Array(2 * this.states.length);
    more.set(this.states);
    this.states = more;
  }

  #growPlaces(): void {
    const places = new Int32Array(2 * this.#places.length);
    const mask = places.length - 1;
    for (let id = 0; id < this.size; id += 1) {
      let place = this.#hash(this.states, id * this.#words) & mask;
      while (places[place] !== 0) place = (place + 1) & mask;
      places[place] = id + 1;
    }
    this.#places = places;
  }
}
