// Encodes and decodes libvirt's migration flags and typed parameters by name. The table of migration options defines which
// exist.

import {
  type MigrateFlag,
  type MigrateParameters,
  type OptionRow,
  optionRows,
} from "../../../protocol/options/table.js";
import type { TypedParam } from "../rpc/libvirt-types.js";

export type { MigrateFlag, MigrateParameters };

/** All flags with their bits, in ascending order of the bits. */
export const migrateFlags: ReadonlyMap<MigrateFlag, number> = new Map(
  optionRows
    .flatMap(({ libvirt: { flag, bit } = {} }) =>
      flag === undefined || bit === undefined ? [] : [[flag, bit] as const],
    )
    .sort(([, one], [, other]) => one - other),
);

export const flagNames: readonly MigrateFlag[] = [...migrateFlags.keys()];

/** Returns the flags in `bits`, and the bits that are not known flags. */
export function flagsOf(bits: number): {
  readonly flags: ReadonlySet<MigrateFlag>;
  readonly unknown: number;
} {
  const flags = [...migrateFlags].flatMap(([flag, bit]) => ((bits & bit) !== 0 ? [flag] : []));
  return { flags: new Set(flags), unknown: (bits & ~bitsOf(flags)) >>> 0 };
}

export const bitsOf = (flags: Iterable<MigrateFlag>): number =>
  [...flags].reduce((sum, flag) => sum | (migrateFlags.get(flag) ?? 0), 0);

const forSourceAlone: ReadonlySet<MigrateFlag> = new Set(
  optionRows.flatMap(({ libvirt }) => (libvirt?.sourceOnly === true ? (libvirt.flag ?? []) : [])),
);

/** Returns the bits that are sent to the destination. */
export const bitsForDestination = (flags: ReadonlySet<MigrateFlag>): number =>
  bitsOf([...flags].filter((flag) => !forSourceAlone.has(flag)));

interface Field {
  readonly field: string;
  readonly name: keyof MigrateParameters;
  readonly type: "string" | "int" | "ullong";
  /** True when the parameter is repeated for each of its values. */
  readonly isList: boolean;
}

const isList = ({ type: { kind } }: OptionRow): boolean => kind === "list" || kind === "members";

const fields: readonly Field[] = optionRows.flatMap((row) => {
  const { parameter: field, as: name, type } = row.libvirt ?? {};
  if (field === undefined || name === undefined || type === undefined) return [];
  return [{ field, name, type, isList: isList(row) }];
});

export type WrongParameter = { readonly field: string; readonly why: "unknown" | "wrong type" | "repeated" };

/** Returns the parameters, or the first one that cannot be used. */
export function parametersOf(given: readonly TypedParam[]): MigrateParameters | WrongParameter {
  const known: Record<string, string | number | string[]> = {};
  for (const param of given) {
    const { field } = param;
    const wanted = fields.find((each) => each.field === field);
    if (wanted === undefined) return { field, why: "unknown" };
    const { name, type, isList } = wanted;
    const before = known[name];
    if (before !== undefined && !Array.isArray(before)) return { field, why: "repeated" };
    if (param.type !== type || (param.type === "ullong" && param.value > BigInt(Number.MAX_SAFE_INTEGER)))
      return { field, why: "wrong type" };
    const value = typeof param.value === "string" ? param.value : Number(param.value);
    known[name] = isList ? [...(before ?? []), String(value)] : value;
  }
  return known;
}

export const isWrong = (read: MigrateParameters | WrongParameter): read is WrongParameter => "field" in read;

export function toParameters(parameters: MigrateParameters): TypedParam[] {
  return fields.flatMap(({ field, name, type }) =>
    [parameters[name] ?? []].flat().map((value): TypedParam => {
      if (type === "string") return { field, type, value: String(value) };
      return type === "int" ? { field, type, value: Number(value) } : { field, type, value: BigInt(value) };
    }),
  );
}

const kinds = new Map<string, string>(
  fields.map(({ name, type }) => [name, type === "string" ? "string" : "number"]),
);

/** Checks whether the value has the form of migration parameters. */
export const areParameters = (value: unknown): value is MigrateParameters =>
  typeof value === "object" &&
  value !== null &&
  Object.entries(value).every(([name, given]) =>
    [given].flat().every((one) => typeof one === kinds.get(name)),
  );
