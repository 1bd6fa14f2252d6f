// Where each component of a packed state stands: which word, and which bits of it.

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

  /** The widest components are placed first, each into the first word that has room for it. */
  constructor(components: readonly AnyComponent[]) {
    const used: number[] = [];
    for (const component of components.toSorted((a, b) => b.bits - a.bits)) {
      const { name, bits } = component;
      if (bits < 1 || bits >= wordBits)
        throw new RangeError(`${name} has ${bits} bits; 1 to 31 are possible`);
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
    if (place === undefined) throw new RangeError(`${component.name} is not a component of this world`);
    return place;
  }
}

/** The number at this place of the state that begins at `states[at]`. */
export const read = (states: Int32Array, at: number, { word, shift, mask }: Place): number =>
  ((states[at + word] ?? 0) >>> shift) & mask;

export function write(states: Int32Array, at: number, { word, shift, mask }: Place, number: number): void {
  states[at + word] = ((states[at + word] ?? 0) & ~(mask << shift)) | (number << shift);
}
