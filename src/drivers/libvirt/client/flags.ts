// libvirt's migration flags and typed parameters, by name (libvirt-domain.h, virDomainMigrateFlags and VIR_MIGRATE_PARAM_*).

import type { TypedParam } from "../rpc/libvirt-types.js";

export const migrateFlags = {
  LIVE: 1,
  PEER2PEER: 2,
  TUNNELLED: 4,
  PERSIST_DEST: 8,
  UNDEFINE_SOURCE: 16,
  PAUSED: 32,
  NON_SHARED_DISK: 64,
  NON_SHARED_INC: 128,
  CHANGE_PROTECTION: 256,
  UNSAFE: 512,
  OFFLINE: 1024,
  COMPRESSED: 2048,
  ABORT_ON_ERROR: 4096,
  AUTO_CONVERGE: 8192,
  RDMA_PIN_ALL: 16384,
  POSTCOPY: 32768,
  TLS: 65536,
  PARALLEL: 131072,
  NON_SHARED_SYNCHRONOUS_WRITES: 262144,
  POSTCOPY_RESUME: 524288,
  ZEROCOPY: 1048576,
} as const;
export type MigrateFlag = keyof typeof migrateFlags;

export const flagNames = Object.keys(migrateFlags) as MigrateFlag[];

/** The flags in `bits`, and the bits that are none. */
export function flagsOf(bits: number): {
  readonly flags: ReadonlySet<MigrateFlag>;
  readonly unknown: number;
} {
  const flags = flagNames.filter((it) => (bits & migrateFlags[it]) !== 0);
  return { flags: new Set(flags), unknown: (bits & ~bitsOf(flags)) >>> 0 };
}

export const bitsOf = (flags: Iterable<MigrateFlag>): number =>
  [...flags].reduce((sum, it) => sum | migrateFlags[it], 0);

const forSourceAlone: readonly MigrateFlag[] = [
  "ABORT_ON_ERROR",
  "AUTO_CONVERGE",
  "CHANGE_PROTECTION",
  "PEER2PEER",
];

/** What the destination is told of them (facts/libvirt-migration-detail.md). */
export const bitsForDestination = (flags: ReadonlySet<MigrateFlag>): number =>
  bitsOf([...flags].filter((it) => !forSourceAlone.includes(it)));

/** What a migration can be told beside its flags; absent is left out on the wire. */
export interface MigrateParameters {
  readonly uri?: string;
  readonly name?: string;
  readonly xml?: string;
  readonly persistentXml?: string;
  /** In MiB/s; 0 for no limit. */
  readonly bandwidthMiBps?: number;
  readonly listenAddress?: string;
  /** Targets of the disks that are copied, such as `vda`. */
  readonly disks?: readonly string[];
  /** Where the destination takes the copies of the disks. */
  readonly disksPort?: number;
  /** The same, as `tcp://host[:port]` or `unix:///path`. */
  readonly disksUri?: string;
  /** Methods: `xbzrle` and `mt` on one connection, `zlib` or `zstd` on parallel ones. */
  readonly compression?: readonly string[];
  readonly compressionXbzrleCacheBytes?: number;
  readonly compressionMtLevel?: number;
  readonly compressionMtThreads?: number;
  readonly compressionMtDecompressThreads?: number;
  readonly compressionZlibLevel?: number;
  readonly compressionZstdLevel?: number;
  readonly autoConvergeInitialPercent?: number;
  readonly autoConvergeIncrementPercent?: number;
  readonly parallelConnections?: number;
  readonly postcopyBandwidthMiBps?: number;
  /** The name in the destination's certificate. */
  readonly tlsDestination?: string;
}

type Field = { readonly name: keyof MigrateParameters; readonly type: "string" | "int" | "ullong" };
const text = (name: keyof MigrateParameters) => ({ name, type: "string" }) as const;
const int = (name: keyof MigrateParameters) => ({ name, type: "int" }) as const;
const large = (name: keyof MigrateParameters) => ({ name, type: "ullong" }) as const;
const fields: Readonly<Record<string, Field>> = {
  migrate_uri: text("uri"),
  destination_name: text("name"),
  destination_xml: text("xml"),
  persistent_xml: text("persistentXml"),
  bandwidth: large("bandwidthMiBps"),
  "bandwidth.postcopy": large("postcopyBandwidthMiBps"),
  listen_address: text("listenAddress"),
  migrate_disks: text("disks"),
  disks_port: int("disksPort"),
  disks_uri: text("disksUri"),
  compression: text("compression"),
  "compression.xbzrle.cache": large("compressionXbzrleCacheBytes"),
  "compression.mt.level": int("compressionMtLevel"),
  "compression.mt.threads": int("compressionMtThreads"),
  "compression.mt.dthreads": int("compressionMtDecompressThreads"),
  "compression.zlib.level": int("compressionZlibLevel"),
  "compression.zstd.level": int("compressionZstdLevel"),
  "auto_converge.initial": int("autoConvergeInitialPercent"),
  "auto_converge.increment": int("autoConvergeIncrementPercent"),
  "parallel.connections": int("parallelConnections"),
  "tls.destination": text("tlsDestination"),
};
/** Its name on the wire. */
export const fieldOf = (name: keyof MigrateParameters): string =>
  Object.entries(fields).find(([, it]) => it.name === name)?.[0] ?? name;
/** Given once for each of its values. */
const several: readonly (keyof MigrateParameters)[] = ["disks", "compression"];

export type WrongParameter = { readonly field: string; readonly why: "unknown" | "wrong type" | "repeated" };

/** The parameters, or the first that cannot be used. */
export function parametersOf(given: readonly TypedParam[]): MigrateParameters | WrongParameter {
  const known: Record<string, string | number | string[]> = {};
  for (const it of given) {
    const { field } = it;
    const wanted = Object.hasOwn(fields, field) ? fields[field] : undefined;
    if (wanted === undefined) return { field, why: "unknown" };
    const { name, type } = wanted;
    const before = known[name];
    if (before !== undefined && !Array.isArray(before)) return { field, why: "repeated" };
    if (it.type !== type || (it.type === "ullong" && it.value > BigInt(Number.MAX_SAFE_INTEGER)))
      return { field, why: "wrong type" };
    const value = typeof it.value === "string" ? it.value : Number(it.value);
    known[name] = several.includes(name) ? [...(before ?? []), String(value)] : value;
  }
  return known;
}

export const isWrong = (it: MigrateParameters | WrongParameter): it is WrongParameter => "field" in it;

export function toParameters(it: MigrateParameters): TypedParam[] {
  return Object.entries(fields).flatMap(([field, { name, type }]) =>
    [it[name] ?? []].flat().map((value): TypedParam => {
      if (type === "string") return { field, type, value: String(value) };
      return type === "int" ? { field, type, value: Number(value) } : { field, type, value: BigInt(value) };
    }),
  );
}

const kinds = new Map<string, string>(
  Object.values(fields).map(({ name, type }) => [name, type === "string" ? "string" : "number"]),
);

/** Whether they have the form of parameters. */
export const areParameters = (value: unknown): value is MigrateParameters =>
  typeof value === "object" &&
  value !== null &&
  Object.entries(value).every(([name, it]) => [it].flat().every((one) => typeof one === kinds.get(name)));
