// libvirt's migration flags and typed parameters, by name (libvirt-domain.h, virDomainMigrateFlags and VIR_MIGRATE_PARAM_*).

import type { TypedParam } from "../libvirt-rpc/libvirt-types.js";

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
}

const fields = {
  migrate_uri: "uri",
  destination_name: "name",
  destination_xml: "xml",
  persistent_xml: "persistentXml",
  bandwidth: "bandwidthMiBps",
  listen_address: "listenAddress",
} as const satisfies Record<string, keyof MigrateParameters>;

export type WrongParameter = { readonly field: string; readonly why: "unknown" | "wrong type" | "repeated" };

/** The parameters, or the first that cannot be used. */
export function parametersOf(given: readonly TypedParam[]): MigrateParameters | WrongParameter {
  const known: Record<string, string | number> = {};
  for (const it of given) {
    const { field } = it;
    if (!Object.hasOwn(fields, field)) return { field, why: "unknown" };
    const name = fields[field as keyof typeof fields];
    if (name in known) return { field, why: "repeated" };
    if (name === "bandwidthMiBps") {
      if (it.type !== "ullong" || it.value > BigInt(Number.MAX_SAFE_INTEGER))
        return { field, why: "wrong type" };
      known[name] = Number(it.value);
    } else {
      if (it.type !== "string") return { field, why: "wrong type" };
      known[name] = it.value;
    }
  }
  return known;
}

export const isWrong = (it: MigrateParameters | WrongParameter): it is WrongParameter => "field" in it;

export function toParameters(it: MigrateParameters): TypedParam[] {
  return Object.entries(fields).flatMap(([field, name]): TypedParam[] => {
    const value = it[name];
    if (value === undefined) return [];
    return typeof value === "number"
      ? [{ field, type: "ullong", value: BigInt(value) }]
      : [{ field, type: "string", value }];
  });
}
