// Every migration capability of QEMU that we set, and the parameters beside it: one row for each option. Who decides
// from it is negotiate.ts.

import { defaultConnections, type StreamWish } from "../../../protocol/stream.js";
import type { CommandArguments } from "../monitor/commands.js";

export type Parameters = CommandArguments<"migrate-set-parameters">;
export type Side = "source" | "destination";

/** What is wished of one migration. */
export interface Wish extends StreamWish {
  /** Whether QEMU is to wait between the guest's stop and the switchover, until it is told to go on. */
  readonly pauseBeforeSwitchover?: boolean;
  /** The destination's, where the stream's address does not tell it. */
  readonly host?: string | undefined;
}

export interface Row {
  /** As a person names it. */
  readonly option: string;
  readonly wished: (wish: Wish) => boolean;
  readonly capability?: string;
  /** Whose affair it is: a change of the stream is both sides', and both have to know it; or one side's alone, or each side's. */
  readonly of: "stream" | "each" | "source";
  /** Left out, with a word, where a QEMU does not know it; what a person wishes is refused then. */
  readonly mayBeMissing?: true;
  /** Beside the capability, when it is wished. */
  readonly parameters?: (wish: Wish, side: Side) => Parameters;
  /** The same when it is not; a capability is put off anyway. */
  readonly off?: Parameters;
}

export const tlsId = "switchover-migration-tls";

const always = () => true;
const bytesPerSecond = (mibPerSecond: number | undefined) =>
  mibPerSecond === undefined ? undefined : mibPerSecond * 2 ** 20;
const atSource = (side: Side, parameters: Parameters): Parameters => (side === "source" ? parameters : {});

export const rows: readonly Row[] = [
  // Without it the switchover would have to be polled.
  { option: "events", wished: always, capability: "events", of: "each" },
  // Without it a destination that cannot load the stream leaves nobody running (QEMU 7.2: 7 of 12 failures).
  { option: "return path", wished: always, capability: "return-path", of: "stream" },
  {
    option: "late activation of the disks",
    wished: always,
    capability: "late-block-activate",
    of: "each",
    mayBeMissing: true,
  },
  {
    option: "comparison of the uuids",
    wished: always,
    capability: "validate-uuid",
    of: "stream",
    mayBeMissing: true,
  },
  {
    // Only when there is something to do in it (docs/decisions/0004).
    option: "pauseBeforeSwitchover",
    wished: (it) => it.pauseBeforeSwitchover === true,
    capability: "pause-before-switchover",
    of: "source",
  },
  {
    option: "parallel",
    wished: (it) => it.parallel !== undefined,
    capability: "multifd",
    of: "stream",
    // Both sides must say the same, whatever they were set to before.
    parameters: ({ parallel }) => ({ "multifd-channels": parallel?.connections ?? defaultConnections }),
  },
  {
    option: "compression.zlib",
    wished: (it) => it.compression?.zlib !== undefined,
    of: "stream",
    parameters: ({ compression }, side) => ({
      "multifd-compression": "zlib",
      ...atSource(side, { "multifd-zlib-level": compression?.zlib?.level }),
    }),
    off: { "multifd-compression": "none" },
  },
  {
    option: "compression.zstd",
    wished: (it) => it.compression?.zstd !== undefined,
    of: "stream",
    parameters: ({ compression }, side) => ({
      "multifd-compression": "zstd",
      ...atSource(side, { "multifd-zstd-level": compression?.zstd?.level }),
    }),
    off: { "multifd-compression": "none" },
  },
  {
    option: "compression.xbzrle",
    wished: (it) => it.compression?.xbzrle !== undefined,
    capability: "xbzrle",
    of: "stream",
    parameters: ({ compression }, side) =>
      atSource(side, { "xbzrle-cache-size": compression?.xbzrle?.cacheBytes }),
  },
  {
    option: "compression.mt",
    wished: (it) => it.compression?.mt !== undefined,
    capability: "compress",
    of: "stream",
    parameters: ({ compression }, side) =>
      side === "source"
        ? { "compress-level": compression?.mt?.level, "compress-threads": compression?.mt?.threads }
        : { "decompress-threads": compression?.mt?.decompressThreads },
  },
  {
    option: "autoConverge",
    wished: (it) => it.autoConverge !== undefined,
    capability: "auto-converge",
    of: "source",
    parameters: ({ autoConverge }) => ({
      "cpu-throttle-initial": autoConverge?.initialPercent,
      "cpu-throttle-increment": autoConverge?.incrementPercent,
      "max-cpu-throttle": autoConverge?.maxPercent,
    }),
  },
  {
    option: "dirtyLimit",
    wished: (it) => it.dirtyLimit !== undefined,
    capability: "dirty-limit",
    of: "source",
    parameters: ({ dirtyLimit }) => ({
      "vcpu-dirty-limit": dirtyLimit?.mibPerSecond,
      "x-vcpu-dirty-limit-period": dirtyLimit?.periodMs,
    }),
  },
  {
    option: "zeroCopy",
    wished: (it) => it.zeroCopy === true,
    capability: "zero-copy-send",
    of: "source",
  },
  {
    option: "postcopy",
    wished: (it) => it.postcopy !== undefined,
    capability: "postcopy-ram",
    of: "stream",
    parameters: ({ postcopy }, side) =>
      atSource(side, { "max-postcopy-bandwidth": bytesPerSecond(postcopy?.bandwidthMiBps) }),
  },
  {
    option: "postcopy.preempt",
    wished: (it) => it.postcopy?.preempt === true,
    capability: "postcopy-preempt",
    of: "stream",
  },
  {
    // Never tls-authz: QEMU shows an absent one as "", and looks for an object of that name when it is set to that.
    option: "tls",
    wished: (it) => it.tls !== undefined,
    of: "stream",
    parameters: ({ tls, host = "" }, side) => ({
      "tls-creds": tlsId,
      ...atSource(side, { "tls-hostname": tls?.hostname ?? host }),
    }),
    off: { "tls-creds": "", "tls-hostname": "" },
  },
];

/** What no QEMU may lack that is to do this. */
export const neededCapabilities = (wish: Wish): readonly string[] =>
  rows.flatMap((it) => (it.wished(wish) && it.mayBeMissing !== true ? (it.capability ?? []) : []));
