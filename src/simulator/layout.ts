// Assigns each component of a packed state its word and its bits.

import type { AnyComponent } from "./components.js";

export interface Place {
  readonly word: number;
  readonly shift: number;
  readonly mask: number;
}

const wordBits = 32;

export class Layout {
  readonly words: number;
  readonly #places = new Map<AnyComponent, Place>();

  /** First-fit decreasing: the widest components first, each in the first word with enough free bits. */
  constructor(components: readonly AnyComponent[]) {
    const used: number[] = [];
    for (const component of components.toSorted((a, b) => b.bits - a.bits)) {
      const { name, bits } = component;
      if (bits < 1 || bits >= wordBits)
        throw new RangeError(`component ${name} has ${bits} bits: expected 1 to 31`);
      let word = used.findIndex((value) => value + bits <= wordBits);
      if (word === -1) word = used.push(0) - 1;
      const shift = used[word] ?? 0;
      used[word] = shift + bits;
      this.#places.set(component, { word, shift, mask: 2 ** bits - 1 });
    }
    this.words = used.length;
  }

  placeOf(component: AnyComponent): Place {
    const place = this.#places.get(component);
    if (place === undefined)
      throw new RangeError(`component ${component.name} does not belong to this world`);
    return place;
  }
}

/** Returns the number at this place of the state that begins at `states[at]`. */
export const read = (states: Int32Array, at: number, { word, shift, mask }: Place): number =>
  ((states[at + word] ?? 0) >>> shift) & mask;

export function write(states: Int32Array, at: number, { word, shift, mask }: Place, number: number): void {
  states[at + word] = ((states[at + word] ?? 0) & ~(mask << shift)) | (number << shift);
}
