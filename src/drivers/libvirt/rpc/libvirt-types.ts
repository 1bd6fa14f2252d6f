// Types that libvirt's programs share: names, domains, typed parameters, and their limits (remote_protocol.x).

import {
  double,
  fixedOpaque,
  hyper,
  int,
  mapped,
  opaque,
  string,
  uchar,
  uhyper,
  uint,
  type Xdr,
  type XdrValue,
} from "./xdr.js";
import { array, optional, struct, union } from "./xdr-compound.js";

const maxStringLength = 4_194_304;

export const nonnullString = string(maxStringLength);
export const nullableString = optional(nonnullString);
/** The data that the two sides of a migration exchange through their client. */
export const cookie = opaque(4_194_304);

/** `char[length]`: one word for each character, padded with NULs. */
export const characters = (length: number): Xdr<string> => ({
  minBytes: 4 * length,
  encode(writer, text) {
    if (text.length > length) writer.fail(`has ${text.length} characters, more than ${length}`);
    for (const character of text.padEnd(length, "\0")) uchar.encode(writer, character.charCodeAt(0));
  },
  decode(reader) {
    const codes = Array.from({ length }, () => uchar.decode(reader));
    return Buffer.from(codes).toString("latin1").replace(/\0.*$/s, "");
  },
});

/** 16 bytes on the wire; the usual text form, in lower case, here. */
export const uuid = mapped(
  fixedOpaque(16),
  (bytes) =>
    Buffer.from(bytes)
      .toString("hex")
      .replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"),
  (text, fail) =>
    /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i.test(text)
      ? Buffer.from(text.replaceAll("-", ""), "hex")
      : fail(`${text} is not a valid uuid`),
);

/** `id` is -1 while the domain does not run. */
export const nonnullDomain = struct({ name: nonnullString, uuid, id: int });
export type Domain = XdrValue<typeof nonnullDomain>;

/** libvirt sends a boolean parameter as an int. */
const intAsBoolean = mapped(
  int,
  (value) => value !== 0,
  (value: boolean) => (value ? 1 : 0),
);

const typedParam = mapped(
  struct({
    field: nonnullString,
    value: union({
      int: [1, int],
      uint: [2, uint],
      llong: [3, hyper],
      ullong: [4, uhyper],
      double: [5, double],
      boolean: [6, intAsBoolean],
      string: [7, nonnullString],
    }),
  }),
  ({ field, value }) => ({ field, ...value }),
  ({ field, ...value }) => ({ field, value }),
);
export type TypedParam = XdrValue<typeof typedParam>;

/** There is no null value: a parameter is omitted. A field may occur more than once. */
export const migrateParams = array(typedParam, 64);
export const jobStats = array(typedParam, 64);
export const memoryStats = array(struct({ tag: int, val: uhyper }), 1_024);
export const domainStats = array(struct({ dom: nonnullDomain, params: array(typedParam, 262_144) }), 16_384);
export const domainList = array(nonnullDomain, 16_384);
