import { describe, expect, test } from "vitest";
import { type Knowledge, negotiate } from "../../../src/drivers/qemu/migration/negotiate.js";
import { rows } from "../../../src/drivers/qemu/migration/option-table.js";
import { checkStream, type StreamOptions } from "../../../src/protocol/stream.js";

const over = (transport: "unix" | "tcp", wish: object) => () => checkStream(wish as StreamOptions, transport);

describe("an invalid stream option is refused with a sentence", () => {
  test.each<[string, object]>([
    [
      "stream.parallel.connections is 0; it must be a whole number from 1 to 255",
      { parallel: { connections: 0 } },
    ],
    ["stream.parallel.connections is 1.5; it must be a whole number", { parallel: { connections: 1.5 } }],
    ['stream has no option "paralell"; choose from parallel, compression,', { paralell: {} }],
    ['stream.compression has no option "lz4"', { compression: { lz4: {} } }],
    ["stream.zeroCopy must be a boolean", { zeroCopy: 1 }],
    ["stream.tls.hostname must be a text", { tls: { hostname: "" } }],
    ["stream.parallel must be an object", { parallel: true }],
    ['stream.optional cannot contain "tls", only compression.xbzrle,', { optional: ["zeroCopy", "tls"] }],
    ["compression has no method; name xbzrle, mt, zlib or zstd", { compression: {} }],
    ["compression with zlib works on parallel connections only; add parallel", { compression: { zlib: {} } }],
    ["compression with zstd works on parallel connections only", { compression: { zstd: { level: 3 } } }],
    [
      "compression with xbzrle does not work on parallel connections; use zlib or zstd",
      { parallel: {}, compression: { xbzrle: {} } },
    ],
    ["compression with mt does not work on parallel", { parallel: {}, compression: { mt: { level: 1 } } }],
    ["one compression method; choose zlib or zstd", { parallel: {}, compression: { zlib: {}, zstd: {} } }],
    ["stream.compression.zstd.level is 21", { parallel: {}, compression: { zstd: { level: 21 } } }],
    [
      "cacheBytes is 70000; QEMU requires a power of two, such as 65536",
      { compression: { xbzrle: { cacheBytes: 70_000 } } },
    ],
    [
      "cacheBytes is 2048; it must be a whole number from 4096",
      { compression: { xbzrle: { cacheBytes: 2048 } } },
    ],
    [
      "maxPercent is 10, less than initialPercent, 20",
      { autoConverge: { initialPercent: 20, maxPercent: 10 } },
    ],
    ["QEMU supports only one of them at a time; leave one out", { autoConverge: {}, dirtyLimit: {} }],
    ["zeroCopy works on parallel connections only; add parallel", { zeroCopy: true }],
    ["zeroCopy cannot send compressed memory", { zeroCopy: true, parallel: {}, compression: { zlib: {} } }],
    ["zeroCopy cannot send encrypted memory", { zeroCopy: true, parallel: {}, tls: { hostname: "a" } }],
    ["zeroCopy works over tcp only", { zeroCopy: true, parallel: {} }],
    ["tls over a unix socket needs tls.hostname", { tls: {} }],
  ])("%s", (sentence, wish) => {
    expect(over("unix", wish)).toThrow(RangeError);
    expect(over("unix", wish)).toThrow(sentence);
  });

  test.each<[string, StreamOptions]>([
    ["nothing", {}],
    [
      "parallel connections with zstd and TLS",
      { parallel: {}, compression: { zstd: { level: 20 } }, tls: {} },
    ],
    ["xbzrle and mt together", { compression: { xbzrle: { cacheBytes: 2 ** 20 }, mt: { level: 0 } } }],
    ["zeroCopy on parallel connections", { parallel: { connections: 255 }, zeroCopy: true }],
  ])("but not %s", (_, wish) => {
    expect(over("tcp", wish)).not.toThrow();
  });
});

const everything: Knowledge = {
  capabilities: rows.flatMap((capability) => capability.capability ?? []),
  parameters: ["multifd-channels", "multifd-compression", "tls-creds", "tls-hostname"],
  words: () => undefined,
};
const without = (...gone: string[]): Knowledge => ({
  ...everything,
  capabilities: everything.capabilities.filter((capability) => !gone.includes(capability)),
  parameters: everything.parameters.filter((parameter) => !gone.includes(parameter)),
});
const base = ["events", "return-path", "late-block-activate", "validate-uuid"];

/** The enabled capabilities; all other known ones must be off. */
function chosen(...[wish, side, own, peer]: Parameters<typeof negotiate>) {
  const negotiated = negotiate(wish, side, own, peer);
  if ("refused" in negotiated) return negotiated.refused;
  expect(negotiated.capabilities.map((capability) => capability.capability)).toEqual(
    everything.capabilities.filter((capability) => own.capabilities.includes(capability)),
  );
  return negotiated.capabilities
    .filter((capability) => capability.state)
    .map((capability) => capability.capability);
}

describe("the negotiation of stream options", () => {
  const peer = everything.capabilities;

  test("sets the defaults without options, and disables everything else, whatever it was", () => {
    expect(chosen({}, "source", everything, peer)).toEqual(base);
    expect(negotiate({}, "source", everything, peer)).toMatchObject({
      dropped: [],
      parameters: { "multifd-compression": "none", "tls-creds": "", "tls-hostname": "" },
    });
  });

  test("sets the requested options, and at the destination those that are not the source's only", () => {
    const wish: StreamOptions = {
      parallel: { connections: 3 },
      compression: { zlib: { level: 5 } },
      zeroCopy: true,
    };
    const wide = { ...everything, parameters: [...everything.parameters, "multifd-zlib-level"] };
    expect(chosen(wish, "source", wide, peer)).toEqual([...base, "multifd", "zero-copy-send"]);
    expect(chosen(wish, "destination", everything, peer)).toEqual([...base, "multifd"]);
    expect(negotiate(wish, "source", wide, peer)).toMatchObject({
      parameters: { "multifd-channels": 3, "multifd-compression": "zlib", "multifd-zlib-level": 5 },
    });
    expect(negotiate(wish, "destination", everything, peer)).not.toHaveProperty(
      "parameters.multifd-zlib-level",
    );
  });

  test("enables pause-before-switchover at the source only", () => {
    const wish = { pauseBeforeSwitchover: true };
    expect(chosen(wish, "source", everything, peer)).toContain("pause-before-switchover");
    expect(chosen(wish, "destination", everything, peer)).not.toContain("pause-before-switchover");
  });

  test.each([
    [{ compression: { mt: {} } }, "source", without("compress"), peer, "source", "compress"],
    [{ compression: { mt: {} } }, "destination", without("compress"), peer, "destination", "compress"],
    [
      { compression: { mt: {} } },
      "source",
      everything,
      without("compress").capabilities,
      "destination",
      "compress",
    ],
    [
      { compression: { mt: {} } },
      "destination",
      everything,
      without("compress").capabilities,
      "source",
      "compress",
    ],
    [{ zeroCopy: true }, "source", without("zero-copy-send"), peer, "source", "zero-copy-send"],
    [{}, "source", without("events"), peer, "source", "events"],
    [{}, "source", everything, without("return-path").capabilities, "destination", "return-path"],
    [
      { pauseBeforeSwitchover: true },
      "source",
      without("pause-before-switchover"),
      peer,
      "source",
      "pause-before",
    ],
  ] as const)(
    "refuses %j at the %s and names the side that does not support it",
    (wish, side, own, there, whose, what) => {
      const refused = negotiate(wish, side, own, there);
      expect(refused).toEqual({
        refused: expect.stringMatching(
          new RegExp(`is not available: the ${whose}'s QEMU does not support the capability "${what}`),
        ),
      });
    },
  );

  test("does not refuse options before the other side's capabilities are known", () => {
    expect(chosen({ compression: { xbzrle: {} } }, "source", everything, null)).toEqual([...base, "xbzrle"]);
  });

  test("lets the source use options that its destination does not need", () => {
    const old = without("zero-copy-send", "auto-converge").capabilities;
    expect(chosen({ autoConverge: {} }, "source", everything, old)).toEqual([...base, "auto-converge"]);
    expect(chosen({ autoConverge: {} }, "destination", without("auto-converge"), peer)).toEqual(base);
  });

  test("refuses a parameter, or a member of one, that this QEMU does not support", () => {
    const zstd: StreamOptions = { parallel: {}, compression: { zstd: {} } };
    expect(chosen(zstd, "source", without("multifd-compression"), peer)).toBe(
      `compression.zstd is not available: the source's QEMU does not support the migration parameter "multifd-compression"`,
    );
    const words = (text: string) => (text === "multifd-compression" ? ["none", "zlib"] : undefined);
    expect(chosen(zstd, "destination", { ...everything, words }, peer)).toBe(
      `compression.zstd is not available: the destination's QEMU supports "multifd-compression" only as none, zlib, not as zstd`,
    );
    const zlib = { parallel: {}, compression: { zlib: {} } };
    expect(chosen(zlib, "destination", { ...everything, words }, peer)).toContain("multifd");
  });

  test("leaves out optional options at both sides, and reports them", () => {
    const wish: StreamOptions = { compression: { mt: {}, xbzrle: {} }, optional: ["compression.mt"] };
    const old = without("compress", "validate-uuid");
    const why = (what: string) => `the destination's QEMU does not support the capability "${what}"`;
    const dropped = [
      { option: "comparison of the uuids", why: why("validate-uuid") },
      { option: "compression.mt", why: `${why("compress")}, which QEMU dropped in 9.1` },
    ];
    const on = ["events", "return-path", "late-block-activate", "xbzrle"];
    expect(chosen(wish, "source", everything, old.capabilities)).toEqual(on);
    expect(chosen(wish, "destination", old, everything.capabilities)).toEqual(on);
    expect(negotiate(wish, "source", everything, old.capabilities)).toMatchObject({ dropped });
    expect(negotiate(wish, "destination", old, everything.capabilities)).toMatchObject({ dropped });
  });
});
