// The words of the command line for the memory stream: virsh's where virsh has one. What they amount to is a StreamWish.

import { Option } from "commander";
import type { MigrateFlag, MigrateParameters } from "../../drivers/libvirt/client/flags.js";
import { given, streamWishOf } from "../../drivers/libvirt/client/stream-options.js";
import {
  checkStream,
  defaultTlsCredentials,
  type OptionalOption,
  optionalOptions,
  type StreamWish,
} from "../../protocol/stream.js";

const methods = ["xbzrle", "mt", "zlib", "zstd"] as const;

export interface StreamWords {
  readonly parallel?: true;
  readonly parallelConnections?: number;
  readonly compressed?: true;
  readonly compMethods?: readonly string[];
  readonly compXbzrleCache?: number;
  readonly compMtLevel?: number;
  readonly compMtThreads?: number;
  readonly compMtDthreads?: number;
  readonly compZlibLevel?: number;
  readonly compZstdLevel?: number;
  readonly autoConverge?: true;
  readonly autoConvergeInitial?: number;
  readonly autoConvergeIncrement?: number;
  readonly autoConvergeMax?: number;
  readonly dirtyLimit?: number;
  readonly zerocopy?: true;
  readonly postcopy?: true;
  readonly postcopyBandwidth?: number;
  readonly postcopyPreempt?: true;
  readonly tls?: true;
  readonly tlsDestination?: string;
  readonly tlsCredentials?: string;
  /** False when it is not wanted. */
  readonly tlsVerify?: boolean;
  readonly optional?: readonly OptionalOption[];
}

const list = (text: string) => text.split(",").filter((it) => it !== "");

/** In the order of the help. */
export const streamOptions = (number: (text: string) => number): readonly Option[] => {
  const flag = (words: string, does: string) => new Option(words, does);
  const numeric = (words: string, does: string) => new Option(words, does).argParser(number);
  return [
    flag("--parallel", "several connections at once (QEMU's multifd)"),
    numeric("--parallel-connections <n>", "with --parallel: how many; 2 without it"),
    flag("--compressed", "compress the memory; with xbzrle, if nothing else is said"),
    new Option(
      "--comp-methods <list>",
      `with --compressed: of ${methods.join(", ")}; zlib and zstd with --parallel, the others without`,
    ).argParser(list),
    numeric("--comp-xbzrle-cache <bytes>", "with xbzrle: memory of what was sent; a power of two"),
    numeric("--comp-mt-level <n>", "with mt: 0 to 9"),
    numeric("--comp-mt-threads <n>", "with mt: threads at the source"),
    numeric("--comp-mt-dthreads <n>", "with mt: threads at the destination"),
    numeric("--comp-zlib-level <n>", "with zlib: 0 to 9"),
    numeric("--comp-zstd-level <n>", "with zstd: 0 to 20"),
    flag("--auto-converge", "slow the guest down while it dirties memory faster than it is sent"),
    numeric("--auto-converge-initial <%>", "with --auto-converge: how much at first"),
    numeric("--auto-converge-increment <%>", "with --auto-converge: how much more each time"),
    numeric("--auto-converge-max <%>", "with --auto-converge: how much at most"),
    numeric("--dirty-limit <MiB/s>", "slow down only the processors that dirty more than this"),
    flag("--zerocopy", "with --parallel and --transport tcp: the kernel sends without copying"),
    flag("--postcopy", "allow that the guest runs there before its memory has come"),
    numeric("--postcopy-bandwidth <MiB/s>", "with --postcopy: limit of what was not asked for"),
    flag("--postcopy-preempt", "with --postcopy: what is asked for has a connection of its own"),
    flag("--tls", "encrypt the stream, with QEMU's certificates"),
    new Option("--tls-destination <name>", "with --tls: the name in the destination's certificate"),
    new Option(
      "--tls-credentials <directory>",
      `with --tls: where the certificates lie; ${defaultTlsCredentials} without it`,
    ),
    flag("--no-tls-verify", "with --tls: the destination asks for no certificate"),
    new Option(
      "--optional <list>",
      `leave out what a QEMU does not know, of ${optionalOptions.join(", ")}; anything else is refused then`,
    ).argParser(list),
  ];
};

/** Those that libvirt's hosts know, and that need nobody to switch anything over. */
export const streamOptionsBetween = (number: (text: string) => number): readonly Option[] =>
  streamOptions(number).filter((it) => {
    const name = it.attributeName() as keyof StreamWords;
    return (name in flagOf || name in parameterOf) && !name.startsWith("postcopy");
  });

const flagOf: Partial<Record<keyof StreamWords, MigrateFlag>> = {
  parallel: "PARALLEL",
  compressed: "COMPRESSED",
  autoConverge: "AUTO_CONVERGE",
  zerocopy: "ZEROCOPY",
  postcopy: "POSTCOPY",
  tls: "TLS",
};
const parameterOf: Partial<Record<keyof StreamWords, keyof MigrateParameters>> = {
  parallelConnections: "parallelConnections",
  compMethods: "compression",
  compXbzrleCache: "compressionXbzrleCacheBytes",
  compMtLevel: "compressionMtLevel",
  compMtThreads: "compressionMtThreads",
  compMtDthreads: "compressionMtDecompressThreads",
  compZlibLevel: "compressionZlibLevel",
  compZstdLevel: "compressionZstdLevel",
  autoConvergeInitial: "autoConvergeInitialPercent",
  autoConvergeIncrement: "autoConvergeIncrementPercent",
  postcopyBandwidth: "postcopyBandwidthMiBps",
  tlsDestination: "tlsDestination",
};

/** Each that was said, as it is written and by its name. */
function saidIn(words: StreamWords): { long: string; name: keyof StreamWords }[] {
  return streamOptions(Number).flatMap((it) => {
    const name = it.attributeName() as keyof StreamWords;
    const said = words[name];
    const { long = "" } = it;
    return said === undefined || (it.negate && said === true) ? [] : { long, name };
  });
}

/** As libvirt's hosts are asked for them. */
export interface AskedStream {
  readonly flags: readonly MigrateFlag[];
  readonly parameters: MigrateParameters;
  /** Words of ours that libvirt has none for. */
  readonly strange: readonly string[];
}

export function askedStream(words: StreamWords): AskedStream {
  const said = saidIn(words);
  return {
    flags: said.flatMap(({ name }) => flagOf[name] ?? []),
    parameters: Object.fromEntries(
      said.flatMap(({ name }) => {
        const parameter = parameterOf[name];
        return parameter === undefined ? [] : [[parameter, words[name]]];
      }),
    ),
    strange: said.flatMap(({ name, long }) => (name in flagOf || name in parameterOf ? [] : long)),
  };
}

/** What libvirt's hosts are asked for. @throws Error naming a word that they do not know, or that does not go with the others. */
export function streamBetween(words: StreamWords): Pick<AskedStream, "flags" | "parameters"> {
  const { strange, ...asked } = askedStream(words);
  const [word] = strange;
  if (word !== undefined) throw new Error(`between hosts ${word} is not supported; leave it out`);
  checkStream(streamOf(words), "tcp");
  return asked;
}

/** @throws RangeError when a word tunes what was not asked for; what does not go together is checked later. */
export function streamOf(words: StreamWords): StreamWish {
  const { parallel, compressed, autoConverge, postcopy, tls, compMethods } = words;
  const methodsSaid = new Set(compMethods ?? []);
  const strange = [...methodsSaid].find((it) => !methods.some((method) => method === it));
  if (strange !== undefined)
    throw new RangeError(`--comp-methods does not know ${strange}; there are ${methods.join(", ")}`);
  const said = saidIn(words);
  const needs = (needed: string, isThere: boolean, tuned: readonly (keyof StreamWords)[]) => {
    const word = said.find(({ name }) => tuned.includes(name));
    if (!isThere && word !== undefined) throw new RangeError(`${word.long} needs ${needed}; add it`);
  };
  const { flags, parameters } = askedStream(words);
  const { tlsCredentials: credentials, tlsVerify: verifyPeer } = words;
  const wish = streamWishOf({ flags: new Set(flags), parameters }, given({ credentials, verifyPeer }));
  needs("--parallel", parallel === true, ["parallelConnections"]);
  needs("--compressed", compressed === true, ["compMethods"]);
  needs("--comp-methods xbzrle", wish.compression?.xbzrle !== undefined, ["compXbzrleCache"]);
  needs("--comp-methods mt", methodsSaid.has("mt"), ["compMtLevel", "compMtThreads", "compMtDthreads"]);
  needs("--comp-methods zlib", methodsSaid.has("zlib"), ["compZlibLevel"]);
  needs("--comp-methods zstd", methodsSaid.has("zstd"), ["compZstdLevel"]);
  needs("--auto-converge", autoConverge === true, [
    ...(["autoConvergeInitial", "autoConvergeIncrement", "autoConvergeMax"] as const),
  ]);
  needs("--postcopy", postcopy === true, ["postcopyBandwidth", "postcopyPreempt"]);
  needs("--tls", tls === true, ["tlsDestination", "tlsCredentials", "tlsVerify"]);
  return given({
    ...wish,
    autoConverge: wish.autoConverge && given({ ...wish.autoConverge, maxPercent: words.autoConvergeMax }),
    dirtyLimit: words.dirtyLimit === undefined ? undefined : { mibPerSecond: words.dirtyLimit },
    postcopy: wish.postcopy && given({ ...wish.postcopy, preempt: words.postcopyPreempt }),
    optional: words.optional,
  });
}
