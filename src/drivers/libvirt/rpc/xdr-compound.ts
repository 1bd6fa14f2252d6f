// Compound XDR types: optional, array, struct, union. A count is checked against its limit and the remaining bytes before
// the first element is read.

import { bool, enumeration, nothing, type Xdr, type XdrValue } from "./xdr.js";

export const optional = <T>(type: Xdr<T>): Xdr<T | null> => ({
  minBytes: 4,
  encode(writer, value) {
    bool.encode(writer, value !== null);
    if (value !== null) type.encode(writer, value);
  },
  decode: (reader) => (bool.decode(reader) ? type.decode(reader) : null),
});

export const array = <T>(type: Xdr<T>, most: number): Xdr<readonly T[]> => {
  const minBytes = Math.max(4, type.minBytes);
  return {
    minBytes: 4,
    encode(writer, values) {
      if (values.length > most) writer.fail(`has ${values.length} elements, more than ${most}`);
      writer.room(4).writeUInt32BE(values.length);
      for (const [index, value] of values.entries()) {
        writer.within(index, () => type.encode(writer, value));
      }
    },
    decode(reader) {
      const count = reader.count(most, minBytes);
      return Array.from({ length: count }, (_, index) => reader.within(index, () => type.decode(reader)));
    },
  };
};

type Fields = Readonly<Record<string, Xdr<unknown>>>;

/** Encodes the fields in the order of the table. */
export const struct = <F extends Fields>(fields: F): Xdr<{ readonly [N in keyof F]: XdrValue<F[N]> }> => {
  type Value = { readonly [N in keyof F]: XdrValue<F[N]> };
  const rows = Object.entries(fields) as [keyof F & string, Xdr<unknown>][];
  return {
    minBytes: rows.reduce((sum, [, type]) => sum + type.minBytes, 0),
    encode(writer, value) {
      for (const [name, type] of rows) writer.within(name, () => type.encode(writer, value[name]));
    },
    decode(reader) {
      const decoded = rows.map(([name, type]) => [name, reader.within(name, () => type.decode(reader))]);
      return Object.fromEntries(decoded) as Value;
    },
  };
};

type Arms = Readonly<Record<string, readonly [number, Xdr<unknown>]>>;

/** A discriminated union: the number of the arm as an int, followed by the arm's value. */
export const union = <const A extends Arms>(arms: A) => {
  type Value = {
    [N in keyof A & string]: { readonly type: N; readonly value: XdrValue<A[N][1]> };
  }[keyof A & string];
  const tag = enumeration(Object.fromEntries(Object.entries(arms).map(([name, [number]]) => [name, number])));
  const armOf = (name: string): Xdr<unknown> => arms[name]?.[1] ?? nothing;
  return {
    minBytes: 4,
    encode(writer, { type, value }) {
      tag.encode(writer, type);
      armOf(type).encode(writer, value);
    },
    decode(reader) {
      const type = tag.decode(reader);
      return { type, value: armOf(type).decode(reader) } as Value;
    },
  } satisfies Xdr<Value>;
};
