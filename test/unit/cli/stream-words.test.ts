import { Command } from "commander";
import { describe, expect, test } from "vitest";
import {
  askedStream,
  type StreamFlags,
  streamOf,
  streamOptions,
} from "../../../src/cli/options/stream-options.js";
import { virshOptions } from "../../../src/drivers/libvirt/client/virsh-options.js";

const said = (words: string): StreamFlags => {
  const command = new Command();
  for (const streamOption of streamOptions(Number)) command.addOption(streamOption);
  return command.parse(words.split(" ").filter(Boolean), { from: "user" }).opts();
};

describe("the command line options for the stream", () => {
  test.each<[string, object]>([
    ["", {}],
    ["--parallel --parallel-connections 3", { parallel: { connections: 3 } }],
    ["--compressed", { compression: { xbzrle: {} } }],
    [
      "--compressed --comp-methods mt,xbzrle --comp-mt-level 2 --comp-mt-threads 3 --comp-mt-dthreads 4 --comp-xbzrle-cache 65536",
      {
        compression: {
          mt: { level: 2, threads: 3, decompressThreads: 4 },
          xbzrle: { cacheBytes: 65_536 },
        },
      },
    ],
    [
      "--parallel --compressed --comp-methods zstd --comp-zstd-level 9",
      { parallel: {}, compression: { zstd: { level: 9 } } },
    ],
    // A missing method is refused together with the other contradictory options.
    ["--parallel --compressed", { parallel: {}, compression: {} }],
    [
      "--auto-converge --auto-converge-initial 30 --auto-converge-increment 5 --auto-converge-max 70",
      { autoConverge: { initialPercent: 30, incrementPercent: 5, maxPercent: 70 } },
    ],
    ["--dirty-limit 8", { dirtyLimit: { mibPerSecond: 8 } }],
    [
      "--postcopy --postcopy-bandwidth 9 --postcopy-preempt",
      { postcopy: { bandwidthMiBps: 9, preempt: true } },
    ],
    ["--tls", { tls: { verifyPeer: true } }],
    [
      "--tls --tls-destination b --tls-credentials /c --no-tls-verify",
      { tls: { hostname: "b", credentials: "/c", verifyPeer: false } },
    ],
    [
      "--zerocopy --parallel --optional zeroCopy,autoConverge",
      { zeroCopy: true, parallel: {}, optional: ["zeroCopy", "autoConverge"] },
    ],
  ])("%s", (words, wish) => {
    expect(streamOf(said(words))).toEqual(wish);
  });

  test.each([
    ["--parallel-connections 2", "--parallel-connections needs --parallel; add it"],
    ["--comp-methods mt", "--comp-methods needs --compressed; add it"],
    [
      "--compressed --comp-methods lz4",
      "--comp-methods does not support lz4; choose from xbzrle, mt, zlib, zstd",
    ],
    ["--compressed --comp-mt-level 1", "--comp-mt-level needs --comp-methods mt"],
    ["--compressed --comp-methods mt --comp-xbzrle-cache 4096", "--comp-xbzrle-cache needs"],
    ["--comp-zlib-level 1", "--comp-zlib-level needs --comp-methods zlib"],
    ["--parallel --compressed --comp-methods zlib --comp-zstd-level 1", "needs --comp-methods zstd"],
    ["--auto-converge-max 50", "--auto-converge-max needs --auto-converge"],
    ["--postcopy-preempt", "--postcopy-preempt needs --postcopy"],
    ["--tls-destination b", "--tls-destination needs --tls"],
    ["--no-tls-verify", "--no-tls-verify needs --tls"],
  ])("%s is refused: %s", (words, why) => {
    expect(() => streamOf(said(words))).toThrow(why);
  });

  test.each([
    ["", [], {}, []],
    ["--tls --tls-destination b", ["TLS"], { tlsDestination: "b" }, []],
    [
      "--parallel --compressed --comp-methods zstd --comp-zstd-level 9 --zerocopy",
      ["PARALLEL", "COMPRESSED", "ZEROCOPY"],
      { compression: ["zstd"], compressionZstdLevel: 9 },
      [],
    ],
    [
      "--postcopy --postcopy-preempt --no-tls-verify",
      ["POSTCOPY"],
      {},
      ["--postcopy-preempt", "--no-tls-verify"],
    ],
  ])("%s are libvirt's, but for those that it has not", (words, flags, parameters, strange) => {
    expect(askedStream(said(words))).toEqual({ flags, parameters, strange });
  });

  test("include all of libvirt's flags and parameters of the stream", () => {
    const every = streamOptions(Number)
      .filter((streamOption) => (streamOption.long ?? "") in virshOptions)
      .map((streamOption) => `${streamOption.long} ${streamOption.required ? "1" : ""}`);
    const { flags, parameters } = askedStream(said(every.join(" ").replaceAll("  ", " ")));
    expect([...flags, ...Object.keys(parameters)]).toHaveLength(every.length);
  });

  test("are virsh's, except those that virsh does not have", () => {
    const own = streamOptions(Number).flatMap((streamOption) => streamOption.long ?? []);
    expect(own.filter((text) => !(text in virshOptions))).toEqual([
      "--auto-converge-max",
      "--dirty-limit",
      "--postcopy-preempt",
      "--tls-credentials",
      "--no-tls-verify",
      "--optional",
    ]);
  });
});
