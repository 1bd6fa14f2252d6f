// What libvirt's flags and parameters wish of the memory stream, and what libvirt refuses of them, with its rules
// (its qemu_migration_params.c, 9.4).

import type { Compression, StreamWish, TlsWish } from "../../../protocol/stream.js";
import { fieldOf, type MigrateFlag, type MigrateParameters } from "./flags.js";

interface Asked {
  readonly flags: ReadonlySet<MigrateFlag>;
  readonly parameters: MigrateParameters;
}

const isMethod = (it: string): it is keyof Compression => Object.hasOwn(methods, it);

/** Each with what tunes it. */
const methods = {
  xbzrle: ({ compressionXbzrleCacheBytes: cacheBytes }: MigrateParameters) => given({ cacheBytes }),
  mt: (it: MigrateParameters) =>
    given({
      level: it.compressionMtLevel,
      threads: it.compressionMtThreads,
      decompressThreads: it.compressionMtDecompressThreads,
    }),
  zlib: ({ compressionZlibLevel: level }: MigrateParameters) => given({ level }),
  zstd: ({ compressionZstdLevel: level }: MigrateParameters) => given({ level }),
};

/** `tls`: what is known of this host's side of it. A method that is not known is left out. */
export function streamWishOf({ flags, parameters }: Asked, tls: Omit<TlsWish, "hostname"> = {}): StreamWish {
  const has = (flag: MigrateFlag) => (flags.has(flag) ? true : undefined);
  const it = parameters;
  const named = compressionsOf({ flags, parameters });
  return given({
    parallel: has("PARALLEL") && given({ connections: it.parallelConnections }),
    compression:
      named && Object.fromEntries(named.filter(isMethod).map((method) => [method, methods[method](it)])),
    autoConverge:
      has("AUTO_CONVERGE") &&
      given({
        initialPercent: it.autoConvergeInitialPercent,
        incrementPercent: it.autoConvergeIncrementPercent,
      }),
    zeroCopy: has("ZEROCOPY"),
    postcopy: has("POSTCOPY") && given({ bandwidthMiBps: it.postcopyBandwidthMiBps }),
    tls: has("TLS") && given({ ...tls, hostname: it.tlsDestination }),
  });
}

/** Without a method COMPRESSED is xbzrle, but for parallel connections, which do not have it. */
const compressionsOf = ({ flags, parameters }: Asked): readonly string[] | undefined =>
  parameters.compression ?? (flags.has("COMPRESSED") ? (flags.has("PARALLEL") ? [] : ["xbzrle"]) : undefined);

/** What must be there for what would tune it. */
const tuned = {
  "PARALLEL (--parallel)": { is: ({ parallel }: StreamWish) => parallel, by: ["parallelConnections"] },
  "AUTO_CONVERGE (--auto-converge)": {
    is: ({ autoConverge }: StreamWish) => autoConverge,
    by: ["autoConvergeInitialPercent", "autoConvergeIncrementPercent"],
  },
  "the compression method xbzrle": {
    is: ({ compression }: StreamWish) => compression?.xbzrle,
    by: ["compressionXbzrleCacheBytes"],
  },
  "the compression method mt": {
    is: ({ compression }: StreamWish) => compression?.mt,
    by: ["compressionMtLevel", "compressionMtThreads", "compressionMtDecompressThreads"],
  },
  "the compression method zlib": {
    is: ({ compression }: StreamWish) => compression?.zlib,
    by: ["compressionZlibLevel"],
  },
  "the compression method zstd": {
    is: ({ compression }: StreamWish) => compression?.zstd,
    by: ["compressionZstdLevel"],
  },
} satisfies Record<
  string,
  { readonly is: (wish: StreamWish) => unknown; readonly by: readonly (keyof MigrateParameters)[] }
>;

/** A sentence about what is asked and can never be; undefined when nothing stands against it. */
export function streamRefusal(asked: Asked): string | undefined {
  const all = asked.parameters.compression ?? [];
  const strange = all.find((it) => !isMethod(it));
  if (strange !== undefined)
    return `Unsupported compression method '${strange}'; there are ${Object.keys(methods).join(", ")}`;
  const [twice] = all.filter((it, at) => all.indexOf(it) !== at);
  if (twice !== undefined) return `Compression method '${twice}' is specified twice; name it once`;
  const wish = streamWishOf(asked);
  for (const [what, { is, by }] of Object.entries(tuned)) {
    const said = by.find((it) => asked.parameters[it] !== undefined);
    if (said !== undefined && is(wish) === undefined)
      return `the migration parameter '${fieldOf(said)}' tunes ${what}, which is off; turn it on`;
  }
  return undefined;
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };
/** Without what is undefined. */
export const given = <T extends object>(all: T): Given<T> =>
  Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Given<T>;
