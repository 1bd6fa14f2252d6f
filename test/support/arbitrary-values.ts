// Draws values of any XDR type for fast-check without a second table of types: the type decodes from a reader that draws
// each number that it is asked for.

import fc, { type GeneratorValue } from "fast-check";
import type { Xdr } from "../../src/drivers/libvirt/rpc/xdr.js";
import { XdrReader } from "../../src/drivers/libvirt/rpc/xdr-bytes.js";

const characters = ["a", "z", "-", "ü", "€", "🖥", "\ufeff"].map((text) => Buffer.from(text));
const maxDrawn = 9;

class DrawingReader extends XdrReader {
  readonly #draw: GeneratorValue;

  constructor(draw: GeneratorValue) {
    super(new Uint8Array());
    this.#draw = draw;
  }

  override get bytesLeft(): number {
    return 0;
  }

  override integer(least: number, most: number): number {
    return this.#draw(fc.integer, { min: least, max: most });
  }

  /** Draws longer numbers: small ones, the ends of the range, and arbitrary ones. */
  override take(length: number): Buffer {
    const bytes = Buffer.alloc(length);
    const kind = this.#draw(fc.constantFrom, "small", "ones", "least", "any");
    if (kind === "small") bytes[length - 1] = this.#draw(fc.nat, { max: 7 });
    if (kind === "ones") bytes.fill(0xff);
    if (kind === "least") bytes[0] = 0x80;
    if (kind === "any") bytes.set(this.#draw(fc.uint8Array, { minLength: length, maxLength: length }));
    return bytes;
  }

  /** Draws bytes that are valid as text. */
  override takePadded(length: number): Buffer {
    const bytes = Buffer.alloc(length, "x");
    for (let at = 0; at < length; ) {
      const character = this.#draw(fc.constantFrom, ...characters);
      if (at + character.length > length) break;
      at += character.copy(bytes, at);
    }
    return bytes;
  }

  override count(most: number): number {
    return this.#draw(fc.nat, { max: Math.min(most, maxDrawn) });
  }

  override choice<T>(options: ReadonlyMap<number, T>): T {
    const values = [...options.values()];
    const drawn = values[this.#draw(fc.nat, { max: values.length - 1 })];
    return drawn ?? this.fail("the union has no arms");
  }
}

export const valuesOf = <T>(type: Xdr<T>): fc.Arbitrary<T> =>
  fc.gen().map((draw) => type.decode(new DrawingReader(draw)));
