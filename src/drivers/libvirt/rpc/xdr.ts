// XDR (RFC 4506) types as values: each encodes, decodes, and has a static type; here numbers, bytes and text. Invalid input
// ends in an XdrError: each length is first checked against its limit and the remaining bytes.

import { padded, XdrReader, XdrWriter } from "./xdr-bytes.js";

export interface Xdr<T> {
  /** Minimum encoded length of a value. */
  readonly minBytes: number;
  encode(writer: XdrWriter, value: T): void;
  decode(reader: XdrReader): T;
}

export type XdrValue<X> = X extends Xdr<infer T> ? T : never;

/** libvirt's limit for the body of one message. */
const maxBodyLength = 16_777_192;

/** @throws XdrError when the value is not of the type. */
export function encode<T>(type: Xdr<T>, value: T): Buffer {
  const writer = new XdrWriter(maxBodyLength);
  type.encode(writer, value);
  return writer.written();
}

/** @throws XdrError when the bytes are not exactly one value of the type. */
export function decode<T>(type: Xdr<T>, bytes: Uint8Array): T {
  const reader = new XdrReader(bytes);
  const value = type.decode(reader);
  if (reader.bytesLeft > 0) reader.fail(`${reader.bytesLeft} bytes are left over`);
  return value;
}

const word = (least: number, most: number): Xdr<number> => ({
  minBytes: 4,
  encode(writer, value) {
    const fits = Number.isInteger(value) && value >= least && value <= most;
    if (!fits) writer.fail(`${value} is not an integer from ${least} to ${most}`);
    writer.room(4).writeUInt32BE(value >>> 0);
  },
  decode: (reader) => reader.integer(least, most),
});

export const int = word(-(2 ** 31), 2 ** 31 - 1);
export const uint = word(0, 2 ** 32 - 1);
/** Small integers also take a whole word each. */
export const uchar = word(0, 255);
export const ushort = word(0, 65_535);

const doubleWord = (least: bigint, most: bigint): Xdr<bigint> => ({
  minBytes: 8,
  encode(writer, value) {
    if (value < least || value > most) writer.fail(`${value} is not an integer from ${least} to ${most}`);
    writer.room(8).writeBigUInt64BE(BigInt.asUintN(64, value));
  },
  decode(reader) {
    const bytes = reader.take(8);
    return least < 0n ? bytes.readBigInt64BE() : bytes.readBigUInt64BE();
  },
});

export const hyper = doubleWord(-(2n ** 63n), 2n ** 63n - 1n);
export const uhyper = doubleWord(0n, 2n ** 64n - 1n);

export const double: Xdr<number> = {
  minBytes: 8,
  encode(writer, value) {
    writer.room(8).writeDoubleBE(value);
  },
  decode: (reader) => reader.take(8).readDoubleBE(),
};

/** An enumeration of names with their numbers. */
export const enumeration = <const N extends Readonly<Record<string, number>>>(
  numbers: N,
): Xdr<keyof N & string> => {
  const names = new Map(Object.entries(numbers).map(([name, number]) => [number, name]));
  return {
    minBytes: 4,
    encode: (writer, name) => int.encode(writer, numbers[name] ?? writer.fail(`${name} is not a known name`)),
    decode: (reader) => reader.choice<keyof N & string>(names),
  };
};

const truths = new Map([
  [0, false],
  [1, true],
]);
export const bool: Xdr<boolean> = {
  minBytes: 4,
  encode: (writer, value) => uint.encode(writer, value ? 1 : 0),
  decode: (reader) => reader.choice(truths),
};

/** No bytes: for procedures without arguments or without an answer. */
export const nothing: Xdr<void> = { minBytes: 0, encode() {}, decode() {} };

export const fixedOpaque = (length: number): Xdr<Uint8Array> => ({
  minBytes: padded(length),
  encode(writer, value) {
    if (value.length !== length) writer.fail(`has ${value.length} bytes instead of ${length}`);
    writer.room(padded(length)).set(value);
  },
  // Copy, so that a value that is kept does not keep the whole message in memory.
  decode: (reader) => Uint8Array.from(reader.takePadded(length)),
});

export const opaque = (most: number): Xdr<Uint8Array> => ({
  minBytes: 4,
  encode(writer, value) {
    if (value.length > most) writer.fail(`has ${value.length} bytes, more than ${most}`);
    writer.room(4).writeUInt32BE(value.length);
    writer.room(padded(value.length)).set(value);
  },
  decode: (reader) => Uint8Array.from(reader.takePadded(reader.count(most, 1))),
});

// Without `ignoreBOM`, a byte order mark would be removed from the text.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const leniently = new TextDecoder("utf-8", { ignoreBOM: true });

export const string = (most: number): Xdr<string> =>
  mapped(
    opaque(most),
    (bytes, fail) => {
      if (bytes.includes(0)) fail("contains a NUL");
      try {
        return utf8.decode(bytes);
      } catch {
        return fail("is not valid UTF-8");
      }
    },
    (text, fail) =>
      text.includes("\0") || /\p{Surrogate}/u.test(text)
        ? fail("cannot be encoded: it contains a NUL or a lone surrogate")
        : Buffer.from(text),
  );

/** Human-readable text, which must not invalidate a message: invalid UTF-8 is replaced, and excess text is cut. */
export const words = (most: number): Xdr<string> =>
  mapped(
    opaque(most),
    (bytes) => leniently.decode(bytes).replaceAll("\0", ""),
    (text) => Buffer.from(leniently.decode(Buffer.from(text.replaceAll("\0", "")).subarray(0, most - 3))),
  );

type Fail = (problem: string) => never;

/** Converts between a wire type and another type. */
export function mapped<W, T>(
  wire: Xdr<W>,
  read: (value: W, fail: Fail) => T,
  write: (value: T, fail: Fail) => W,
): Xdr<T> {
  return {
    minBytes: wire.minBytes,
    encode: (writer, value) =>
      wire.encode(
        writer,
        write(value, (problem) => writer.fail(problem)),
      ),
    decode: (reader) => read(wire.decode(reader), (problem) => reader.fail(problem)),
  };
}
