import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { errorStruct } from "../../../../../src/drivers/libvirt/rpc/libvirt-error.js";
import {
  characters,
  domainList,
  migrateParams,
  type TypedParam,
  uuid,
} from "../../../../../src/drivers/libvirt/rpc/libvirt-types.js";
import { qemu, remote } from "../../../../../src/drivers/libvirt/rpc/procedures.js";
import {
  bool,
  decode,
  double,
  encode,
  enumeration,
  fixedOpaque,
  hyper,
  int,
  opaque,
  string,
  uchar,
  uhyper,
  uint,
  ushort,
  words,
  type Xdr,
} from "../../../../../src/drivers/libvirt/rpc/xdr.js";
import { XdrError, XdrReader } from "../../../../../src/drivers/libvirt/rpc/xdr-bytes.js";
import { array, optional, struct } from "../../../../../src/drivers/libvirt/rpc/xdr-compound.js";
import { valuesOf } from "../../../../support/arbitrary-values.js";

const types: readonly (readonly [string, Xdr<unknown>])[] = [
  ...[remote, qemu].flatMap(({ procedures, messages }) => [
    ...Object.values(procedures).flatMap(
      ({ name, args, ret }) =>
        [
          [`${name}'s arguments`, args],
          [`${name}'s answer`, ret],
        ] as const,
    ),
    ...Object.values(messages).map(({ name, body }) => [name, body] as const),
  ]),
  ["an error", errorStruct],
];

const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const problemOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (error instanceof XdrError) return error.message;
    throw error;
  }
  return "no problem";
};

/** Records which counts are granted for the claims of the bytes. */
class Witness extends XdrReader {
  granted = 0;
  counted = 0;
  override take(length: number): Buffer {
    const bytes = super.take(length);
    this.granted += bytes.length;
    return bytes;
  }
  override count(most: number, minBytesEach: number): number {
    const count = super.count(most, minBytesEach);
    this.counted += count;
    return count;
  }
}

describe("every type of the tables", () => {
  test("decodes what it has encoded", () => {
    for (const [name, type] of types) {
      const same = fc.property(valuesOf(type), (value) => {
        expect(decode(type, encode(type, value)), name).toEqual(value);
      });
      fc.assert(same, { numRuns: 50 });
    }
  });

  test("decodes any bytes to a value or an XdrError, and never reserves more than they contain", () => {
    // Words with small numbers: arbitrary bytes would hardly ever get past the first count.
    const words = fc.array(fc.oneof(fc.nat(8), fc.constantFrom(0xffff_ffff, 64, 65, 16_384, 0x2020_2020)), {
      maxLength: 40,
    });
    const hostile = fc
      .tuple(words, fc.nat(3))
      .map(([all, cut]) => Buffer.concat(all.map(word)).subarray(0, Math.max(0, all.length * 4 - cut)));
    for (const [name, type] of types) {
      const bounded = fc.property(hostile, (bytes) => {
        const witness = new Witness(bytes);
        expect(
          problemOf(() => type.decode(witness)),
          name,
        ).toBeTypeOf("string");
        expect(witness.granted, name).toBeLessThanOrEqual(bytes.length);
        expect(witness.counted, name).toBeLessThanOrEqual(bytes.length);
      });
      fc.assert(bounded, { numRuns: 100 });
    }
  });

  test("rejects missing bytes at its end, and surplus ones", () => {
    for (const [name, type] of types) {
      const exact = fc.property(valuesOf(type), (value) => {
        const bytes = encode(type, value);
        const more = Buffer.concat([bytes, word(0)]);
        expect(
          problemOf(() => decode(type, more)),
          name,
        ).toMatch(/4 bytes are left over/);
        if (bytes.length > 0) expect(() => decode(type, bytes.subarray(0, -1)), name).toThrow(XdrError);
      });
      fc.assert(exact, { numRuns: 20 });
    }
  });
});

describe("of single types", () => {
  test("numbers are in network order, signed ones in two's complement", () => {
    const hex = <T>(type: Xdr<T>, value: T) => encode(type, value).toString("hex");
    expect(hex(int, -2)).toBe("fffffffe");
    expect(hex(uint, 0xdead_beef)).toBe("deadbeef");
    expect(hex(hyper, -2n)).toBe("fffffffffffffffe");
    expect(hex(uhyper, 2n ** 64n - 1n)).toBe("ffffffffffffffff");
    expect(hex(double, -1.5)).toBe("bff8000000000000");
    expect(hex(uchar, 255)).toBe("000000ff");
    expect(decode(double, encode(double, Number.NaN))).toBeNaN();
  });

  test("a number out of its range is neither encoded nor decoded", () => {
    expect(problemOf(() => encode(int, 2 ** 31))).toMatch("2147483648 is not an integer from -2147483648");
    expect(problemOf(() => encode(uint, -1))).toMatch("-1 is not an integer from 0");
    expect(problemOf(() => encode(uint, 1.5))).toMatch("1.5 is not an integer");
    expect(problemOf(() => encode(uhyper, -1n))).toMatch("-1 is not an integer from 0");
    expect(problemOf(() => encode(hyper, 2n ** 63n))).toMatch("is not an integer");
    expect(problemOf(() => decode(ushort, word(65_536)))).toMatch("65536 is more than 65535");
    expect(problemOf(() => decode(bool, word(2)))).toMatch("2 is not one of 0, 1");
    expect(problemOf(() => decode(enumeration({ none: 0, sasl: 1 }), word(2)))).toMatch(
      "2 is not one of 0, 1",
    );
  });

  test("bytes are padded to whole words; padding that is not zero is accepted", () => {
    expect(encode(opaque(10), Buffer.from("abcde")).toString("latin1")).toBe("\0\0\0\x05abcde\0\0\0");
    expect(encode(fixedOpaque(3), Buffer.from("abc")).toString("latin1")).toBe("abc\0");
    expect(decode(string(10), Buffer.from("\0\0\0\x05abcde\x01\x02\x03"))).toBe("abcde");
    expect(problemOf(() => decode(string(10), Buffer.from("\0\0\0\x05abcde\0\0")))).toMatch(
      "needs 3 bytes, but 2 are left",
    );
  });

  test("text is UTF-8 without NUL, both ways, up to its limit in bytes", () => {
    const text = string(6);
    expect(decode(text, encode(text, "Grüß"))).toBe("Grüß");
    expect(problemOf(() => encode(text, "Grüße"))).toMatch("has 7 bytes, more than 6");
    expect(problemOf(() => encode(text, "a\0b"))).toMatch("cannot be encoded");
    expect(problemOf(() => encode(text, "\ud800"))).toMatch("cannot be encoded");
    expect(problemOf(() => decode(text, Buffer.from("\0\0\0\x02\xc3\x28\0\0", "latin1")))).toMatch(
      "is not valid UTF-8",
    );
    expect(problemOf(() => decode(text, Buffer.from("\0\0\0\x03a\0b\0")))).toMatch("contains a NUL");
  });

  test("an error is never lost because of its strings", () => {
    const text = words(16);
    expect(decode(text, Buffer.from("\0\0\0\x04a\xff\0b", "latin1"))).toBe("a\ufffdb");
    expect(decode(text, encode(text, "a\0\ud800b"))).toBe("a\ufffdb");
    expect(decode(text, encode(text, "€".repeat(20)))).toBe("€€€€\ufffd");
  });

  test("a uuid is 16 bytes on the wire and its usual text here", () => {
    const text = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";
    expect(encode(uuid, text.toUpperCase()).toString("hex")).toBe(text.replaceAll("-", ""));
    expect(decode(uuid, encode(uuid, text))).toBe(text);
    expect(problemOf(() => encode(uuid, "0a1b2c3d"))).toMatch("0a1b2c3d is not a valid uuid");
  });

  test("each character of a fixed-length array takes a whole word", () => {
    const model = characters(3);
    expect(encode(model, "ab").toString("hex")).toBe("000000610000006200000000");
    expect(decode(model, encode(model, "ab"))).toBe("ab");
    expect(decode(model, encode(model, "abc"))).toBe("abc");
    expect(problemOf(() => encode(model, "abcd"))).toBe("has 4 characters, more than 3");
    expect(problemOf(() => encode(model, "€"))).toBe("8364 is not an integer from 0 to 255");
  });

  test("each kind of typed parameter is read and written with its own type", () => {
    const params: readonly TypedParam[] = [
      { field: "a", type: "int", value: -1 },
      { field: "b", type: "uint", value: 1 },
      { field: "c", type: "llong", value: -1n },
      { field: "d", type: "ullong", value: 1n },
      { field: "e", type: "double", value: 0.5 },
      { field: "f", type: "boolean", value: true },
      { field: "migrate_disks", type: "string", value: "vda" },
      { field: "migrate_disks", type: "string", value: "vdb" },
    ];
    const bytes = encode(migrateParams, params);
    expect(decode(migrateParams, bytes)).toEqual(params);
    expect(bytes.subarray(4, 16).toString("hex")).toBe("00000001" + "61000000" + "00000001");
    const unknown = Buffer.concat([word(1), word(1), Buffer.from("a\0\0\0"), word(8), word(0)]);
    expect(problemOf(() => decode(migrateParams, unknown))).toMatch(
      "[0].value: 8 is not one of 1, 2, 3, 4, 5, 6, 7",
    );
  });
});

describe("hostile bytes", () => {
  test("a count is refused before any element is read, by its limit or by the remaining bytes", () => {
    // The path names the list, not an element of it.
    const list = struct({ params: migrateParams, domains: domainList });
    expect(problemOf(() => decode(list, word(65)))).toBe("params: 65 elements are more than 64");
    expect(problemOf(() => decode(list, word(64)))).toBe(
      "params: 64 elements do not fit into the 0 bytes that are left",
    );
    const domains = Buffer.concat([word(0), word(16_384), Buffer.alloc(1000)]);
    expect(problemOf(() => decode(list, domains))).toBe(
      "domains: 16384 elements do not fit into the 1000 bytes that are left",
    );
    expect(problemOf(() => decode(array(optional(int), 2 ** 32), word(0xffff_ffff)))).toMatch("do not fit");
  });

  test("the error names the field down to the element", () => {
    const bytes = encode(domainList, [{ name: "a", uuid: "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d", id: 1 }]);
    bytes.writeUInt32BE(0xffff_ffff, 4);
    expect(problemOf(() => decode(domainList, bytes))).toBe(
      "[0].name: 4294967295 elements are more than 4194304",
    );
    const error = problemOf(() =>
      encode(remote.procedures.domainMigratePrepare3Params.args, {
        params: [
          { field: "ok", type: "int", value: 1 },
          { field: "bad", type: "uint", value: -1 },
        ],
        cookieIn: new Uint8Array(),
        flags: 0,
      }),
    );
    expect(error).toBe("params[1].value: -1 is not an integer from 0 to 4294967295");
  });

  test("a value that makes the message longer than the maximum is not encoded", () => {
    const long = "x".repeat(4_194_304);
    const domains = Array.from({ length: 5 }, () => ({
      name: long,
      uuid: "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d",
      id: 1,
    }));
    expect(problemOf(() => encode(domainList, domains))).toBe(
      "[3].name: makes the message longer than 16777192 bytes",
    );
  });

  test("a part of a message that is kept does not retain the whole message", () => {
    const message = encode(opaque(10), Buffer.from("cookie"));
    const kept = decode(opaque(10), message);
    expect(kept.buffer.byteLength).toBe(6);
  });
});
