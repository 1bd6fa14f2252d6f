// The states that a search has reached, by number, in little memory: a state is looked up by the numbers of its parts, and
// put together again from them.

import { fences } from "./effects.js";
import type { Network } from "./network.js";
import type { SimulatedDestination, SimulatedSource } from "./qemus.js";
import type { Standing } from "./species.js";
import { State } from "./state.js";

/** Parts by their ids. */
class Parts<Part extends { readonly id: number }> {
  readonly #known: Part[] = [];
  readonly #limit: number;
  constructor(bits: number) {
    this.#limit = 2 ** bits;
  }
  numberOf(part: Part): number {
    if (part.id >= this.#limit)
      throw new RangeError(`the search knows no more than ${this.#limit} of a part`);
    this.#known[part.id] ??= part;
    return part.id;
  }
  at(id: number): Part {
    const part = this.#known[id];
    if (part === undefined) throw new RangeError(`there is no part ${id}`);
    return part;
  }
}

export class Reached {
  size = 0;
  readonly #sources = new Parts<Standing>(12);
  readonly #destinations = new Parts<Standing>(11);
  readonly #coordinators = new Parts<Standing>(12);
  readonly #qemusS = new Parts<SimulatedSource>(14);
  readonly #qemusD = new Parts<SimulatedDestination>(12);
  readonly #networks = new Parts<Network>(18);
  /** Three numbers for each state, side by side: looking a state up is waiting for memory. */
  #keys = new Int32Array(3 * 2 ** 17);
  /** Open addressing; 0 is a free place. */
  #table = new Int32Array(2 ** 18);

  /** The number of the state, and whether it is new. */
  add(state: State): { readonly id: number; readonly isNew: boolean } {
    const [a, b, c] = this.#pack(state);
    if (2 * this.size >= this.#table.length) this.#grow();
    const place = this.#placeOf(a, b, c);
    const found = this.#table[place] ?? 0;
    if (found !== 0) return { id: found - 1, isNew: false };
    const id = this.size;
    this.size += 1;
    this.#keys[3 * id] = a;
    this.#keys[3 * id + 1] = b;
    this.#keys[3 * id + 2] = c;
    this.#table[place] = id + 1;
    return { id, isNew: true };
  }

  at(id: number): State {
    const [a, b, c] = this.#keyOf(id);
    const destination = (a >>> 12) & 0x7ff;
    const fence = fences[(a >>> 23) & 3];
    if (fence === undefined) throw new RangeError("there is no such fence");
    return new State(
      this.#sources.at(a & 0xfff),
      destination === 0 ? null : this.#destinations.at(destination - 1),
      this.#coordinators.at(b & 0xfff),
      this.#qemusS.at((b >>> 12) & 0x3fff),
      this.#qemusD.at(c & 0xfff),
      fence,
      this.#networks.at((c >>> 12) & 0x3ffff),
      (a >>> 25) & 3,
      ((a >>> 27) & 1) === 1,
      ((a >>> 28) & 1) === 1,
    );
  }

  #pack(state: State): [number, number, number] {
    const { destination, fence, abortsLeft, qemuDied, coordinatorDied } = state;
    const flags =
      (fences.indexOf(fence) << 23) |
      (abortsLeft << 25) |
      (Number(qemuDied) << 27) |
      (Number(coordinatorDied) << 28);
    const there = destination === null ? 0 : this.#destinations.numberOf(destination) + 1;
    return [
      this.#sources.numberOf(state.source) | (there << 12) | flags,
      this.#coordinators.numberOf(state.coordinator) | (this.#qemusS.numberOf(state.qemuS) << 12),
      this.#qemusD.numberOf(state.qemuD) | (this.#networks.numberOf(state.network) << 12),
    ];
  }

  /** Where the state stands in the table, or would. */
  #placeOf(a: number, b: number, c: number): number {
    const mask = this.#table.length - 1;
    let hash = Math.imul(a ^ (a >>> 15), 0x85ebca6b) ^ Math.imul(b, 0xc2b2ae35) ^ Math.imul(c, 0x27d4eb2f);
    hash ^= hash >>> 16;
    hash = Math.imul(hash, 0x9e3779b1);
    for (let place = (hash ^ (hash >>> 13)) & mask; ; place = (place + 1) & mask) {
      const found = this.#table[place] ?? 0;
      if (found === 0) return place;
      const at = 3 * (found - 1);
      if (this.#keys[at] === a && this.#keys[at + 1] === b && this.#keys[at + 2] === c) return place;
    }
  }

  #keyOf(id: number): [number, number, number] {
    return [this.#keys[3 * id] ?? 0, this.#keys[3 * id + 1] ?? 0, this.#keys[3 * id + 2] ?? 0];
  }

  #grow(): void {
    const keys = new Int32Array(2 * this.#keys.length);
    keys.set(this.#keys);
    this.#keys = keys;
    this.#table = new Int32Array(2 * this.#table.length);
    for (let id = 0; id < this.size; id += 1) this.#table[this.#placeOf(...this.#keyOf(id))] = id + 1;
  }
}
