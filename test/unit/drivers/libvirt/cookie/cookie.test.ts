import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseXml, printXml } from "../../../../../src/drivers/domain-xml/xml/parse.js";
import { someText } from "../../../../../src/drivers/domain-xml/xml/values.js";
import { type Cookie, type Expected, readCookie } from "../../../../../src/drivers/libvirt/cookie/cookie.js";
import { CookieError } from "../../../../../src/drivers/libvirt/cookie/errors.js";
import * as sections from "../../../../../src/drivers/libvirt/cookie/sections.js";
import { writeCookie } from "../../../../../src/drivers/libvirt/cookie/write.js";
import { modelOf, textOf } from "../../../../support/arbitrary-domains.js";
import { uuid } from "../../../../support/domains.js";
import { xmlTree } from "../../../../support/trees.js";

const hostUuid = "11111111-2222-3333-4444-555555555555";
const receiver: Expected = {
  name: "guest",
  uuid,
  hostUuid: "99999999-2222-3333-4444-555555555555",
  reads: ["lockstate", "nbd", "cpu", "capabilities", "persistent"],
};
const head = `<name>guest</name><uuid>${uuid}</uuid><hostname>a</hostname><hostuuid>${hostUuid}</hostuuid>`;
const bytesOf = (text: string) => new TextEncoder().encode(text);
const cookieOf = (more: string, begin = head) =>
  bytesOf(`<qemu-migration>${begin}${more}</qemu-migration>\n\0`);
const read = (bytes: Uint8Array, expected: Partial<Expected> = {}) =>
  readCookie(bytes, { ...receiver, ...expected });

function refusalOf(bytes: Uint8Array, expected: Partial<Expected> = {}): string {
  try {
    read(bytes, expected);
  } catch (error) {
    if (error instanceof CookieError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "read";
}

describe("a cookie of libvirt 9.0", () => {
  // As Begin and Perform send it.
  const begin = `<qemu-migration>
  <name>guest</name>
  <uuid>${uuid}</uuid>
  <hostname>a</hostname>
  <hostuuid>${hostUuid}</hostuuid>
  <feature name='lockstate'/>
  <graphics type='vnc' port='5900' listen='127.0.0.1'/>
  <nbd>
    <disk target='vda' capacity='1073741824'/>
  </nbd>
  <cpu mode='custom' match='exact' check='full'>
    <model fallback='forbid'>qemu64</model>
    <feature policy='require' name='x2apic'/>
  </cpu>
  <capabilities>
    <cap name='xbzrle' auto='no'/>
    <cap name='pause-before-switchover' auto='yes'/>
  </capabilities>
  <blockDirtyBitmaps>
    <disk target='vda'>
      <bitmap name='b' alias='libvirt-vda-b'/>
    </disk>
  </blockDirtyBitmaps>
</qemu-migration>\n\0`;

  test("is read with each section", () => {
    const { cookie, ignored } = read(bytesOf(begin)) ?? {};
    expect(ignored).toEqual([]);
    expect(cookie).toMatchObject({
      name: "guest",
      uuid,
      hostname: "a",
      hostUuid,
      features: ["lockstate"],
      graphics: { type: "vnc", port: 5900, listen: "127.0.0.1" },
      nbd: { disks: [{ target: "vda", capacity: 1_073_741_824 }] },
      capabilities: {
        caps: [
          { name: "xbzrle", auto: false },
          { name: "pause-before-switchover", auto: true },
        ],
      },
      blockDirtyBitmaps: {
        disks: [{ target: "vda", bitmaps: [{ name: "b", alias: "libvirt-vda-b" }] }],
      },
      others: [],
    });
    expect(cookie?.cpu).toContain('<feature policy="require" name="x2apic"/>');
    expect(cookie?.lockstate).toBeUndefined();
  });

  test("provides its statistics, except those that are not numbers", () => {
    const statistics = `<statistics><started>1764091665123</started><delta>-3</delta><downtime>10</downtime>
      <disk_total>0</disk_total><new>a lot</new></statistics>`;
    expect(read(cookieOf(statistics))?.cookie.statistics).toEqual({
      started: 1_764_091_665_123,
      delta: -3,
      downtime: 10,
      disk_total: 0,
    });
  });

  test("contains the whole definition to be kept", () => {
    const xml = `<domain type="qemu"><name>guest</name><sound model="ich9"/></domain>`;
    const { cookie } = read(cookieOf(`<feature name='persistent'/>${xml}`)) ?? {};
    expect(cookie?.persistent).toBe(xml);
    expect(cookie?.features).toEqual(["persistent"]);
  });

  test("counts as absent when it is empty", () => {
    expect(read(new Uint8Array())).toBeNull();
  });
});

describe("a cookie is refused", () => {
  test.each<[string, Uint8Array, string, Partial<Expected>?]>([
    ["without its NUL", cookieOf("").subarray(0, -1), "not-terminated"],
    ["that is not XML", bytesOf("<qemu-migration>\0"), "malformed"],
    ["that is not UTF-8", Uint8Array.of(0xff, 0), "malformed"],
    ["with a document type", bytesOf("<!DOCTYPE a><qemu-migration/>\0"), "malformed"],
    ["that is something else", bytesOf("<domain/>\0"), "malformed"],
    ["without a host", cookieOf("", head.replace(/<hostname>.*<\/hostname>/, "")), "malformed"],
    ["with a uuid that is none", cookieOf("", head.replace(hostUuid, "1")), "malformed"],
    ["about another guest", cookieOf(""), "wrong-name", { name: "other" }],
    ["about another uuid", cookieOf(""), "wrong-uuid", { uuid: hostUuid }],
    ["from the host itself", cookieOf(""), "same-host", { hostUuid }],
    [
      "with a malformed part of switchover's",
      cookieOf("<switchover version='1' migration='a b'/>"),
      "malformed",
    ],
    [
      "with a malformed receipt",
      cookieOf("<switchover version='1' migration='m' receipt='x'/>"),
      "malformed",
    ],
    ["with something that must be understood, and is not", cookieOf("<feature name='tpm'/>"), "feature"],
    [
      "with a mandatory feature that does not belong to this step",
      cookieOf("<feature name='lockstate'/>"),
      "feature",
      { reads: ["statistics"] },
    ],
    [
      "with a mandatory feature that is damaged",
      cookieOf("<feature name='nbd'/><nbd port='none'/>"),
      "malformed",
    ],
  ])("%s", (_, bytes, code, expected) => {
    expect(refusalOf(bytes, expected)).toMatch(new RegExp(`^${code}: the migration cookie cannot be used: `));
  });

  test("with the name of an unknown mandatory feature", () => {
    expect(refusalOf(cookieOf("<feature name='tpm'/>"))).toContain('"tpm"');
  });
});

describe("an optional part of a cookie", () => {
  test("is skipped and reported when it is not known", () => {
    const more = `<tpm version="2"/><x:own xmlns:x="urn:x"/><nbd port="49152"/>`;
    const { cookie, ignored } = read(cookieOf(more)) ?? {};
    expect(cookie?.others).toEqual(['<tpm version="2"/>', '<x:own xmlns:x="urn:x"/>']);
    expect(cookie?.nbd?.port).toBe(49_152);
    expect(ignored).toEqual(["the section <tpm> is unknown", "the section <x:own> is unknown"]);
  });

  test("is skipped and reported when it is damaged, and the rest is read", () => {
    const more = "<nbd port='none'/><capabilities><cap name='xbzrle' new='1'/></capabilities>";
    const { cookie, ignored } = read(cookieOf(more)) ?? {};
    expect(cookie?.nbd).toEqual({ disks: [] });
    expect(cookie?.capabilities).toEqual({ caps: [{ name: "xbzrle", auto: false }] });
    expect(ignored).toEqual([
      expect.stringContaining("qemu-migration/nbd/@port"),
      expect.stringContaining("qemu-migration/capabilities/cap[1]/@new"),
    ]);
  });
});

/** An arbitrary cookie that the receiver accepts. */
const cookies: fc.Arbitrary<Cookie> = fc.record(
  {
    name: fc.constant(receiver.name),
    uuid: fc.constant(uuid),
    hostname: textOf(someText) as fc.Arbitrary<string>,
    hostUuid: fc.constant(hostUuid),
    features: fc.subarray([...receiver.reads]),
    graphics: modelOf(sections.graphics),
    lockstate: modelOf(sections.lockstate),
    persistent: xmlTree.map((text) => printXml(parseXml(`<domain>${text}</domain>`))),
    network: modelOf(sections.network),
    nbd: modelOf(sections.nbd),
    statistics: fc.dictionary(fc.stringMatching(/^[a-z][a-z_]{0,12}$/), fc.maxSafeInteger(), {
      noNullPrototype: true,
    }),
    cpu: xmlTree.map((text) => printXml(parseXml(`<cpu>${text}</cpu>`))),
    capabilities: modelOf(sections.capabilities),
    blockDirtyBitmaps: modelOf(sections.blockDirtyBitmaps),
    switchover: modelOf(sections.switchover),
    others: fc.array(
      xmlTree.map((text) => printXml(parseXml(`<zz>${text}</zz>`))),
      { maxLength: 2 },
    ),
  },
  { requiredKeys: ["name", "uuid", "hostname", "hostUuid", "features", "others"] },
);

describe("any cookie", () => {
  test("is read as it was written, and written as it was read", () => {
    fc.assert(
      fc.property(cookies, (cookie) => {
        const bytes = writeCookie(cookie);
        expect(bytes.at(-1)).toBe(0);
        const again = read(bytes);
        expect(again?.cookie).toEqual(cookie);
        expect(again === null ? null : writeCookie(again.cookie)).toEqual(bytes);
      }),
    );
  });

  test("is refused or read when it was damaged, and never throws another error", () => {
    fc.assert(
      fc.property(
        cookies,
        fc.nat(),
        fc.nat(),
        fc.uint8Array({ maxLength: 4 }),
        (cookie, at, gone, instead) => {
          const bytes = writeCookie(cookie);
          const from = at % bytes.length;
          const rest = bytes.subarray(from + (gone % 40));
          expect(refusalOf(Uint8Array.of(...bytes.subarray(0, from), ...instead, ...rest))).toMatch(
            /^[a-z-]+/,
          );
        },
      ),
      { numRuns: 300 },
    );
  });
});
