// The requested options of a migration, by the names of their rows, and conversions from and to their other forms:
// the library's object, libvirt's flags and parameters, and the command line.

import { excludes } from "./exclusion.js";
import type { OptionType } from "./row.js";
import {
  groupOf,
  type MemoryStream,
  type MigrateFlag,
  type MigrateParameters,
  memberOf,
  membersOf,
  memoryRows,
  type OptionName,
  type OptionRow,
  optionRows,
  rowOf,
} from "./table.js";

export type OptionValue = boolean | number | string | readonly string[];
/** Options that are off are absent. */
export type Asked = ReadonlyMap<OptionName, OptionValue>;

export interface AskedOfLibvirt {
  readonly flags: ReadonlySet<MigrateFlag>;
  readonly parameters: MigrateParameters;
}

/** Returns undefined when the option is off, or when the value does not have the option's type. */
export function readValue({ kind }: OptionType, value: unknown): OptionValue | undefined {
  switch (kind) {
    case "group":
      return (typeof value === "object" && value !== null) || value === true ? true : undefined;
    case "switch":
      return value === true ? true : undefined;
    case "choice":
      return typeof value === "boolean" ? value : undefined;
    case "number":
      return typeof value === "number" ? value : undefined;
    case "text":
    case "file":
      return typeof value === "string" ? value : undefined;
    case "list":
    case "members":
      return Array.isArray(value) && value.every((word): word is string => typeof word === "string")
        ? value
        : undefined;
  }
}

const at = (value: unknown, key: string): unknown =>
  typeof value === "object" && value !== null
    ? new Map<string, unknown>(Object.entries(value)).get(key)
    : undefined;

/** Reads the options of a migration within one machine, which is always live. */
export function askedByStream(stream: MemoryStream, transport: "unix" | "tcp" = "tcp"): Asked {
  const asked = new Map<OptionName, OptionValue>([["live", true]]);
  if (transport === "unix") asked.set("transport.unix", true);
  for (const { name, type } of memoryRows) {
    const value = type.kind === "members" ? undefined : name.split(".").reduce<unknown>(at, stream);
    const read = readValue(type, value);
    if (read !== undefined) asked.set(name, read);
  }
  return asked;
}

interface Tree {
  [name: string]: OptionValue | Tree;
}

/** Builds the library's stream options; an option whose group is off is left out. */
export function streamOf(asked: Asked): MemoryStream {
  const trees = new Map<OptionName | undefined, Tree>([[undefined, {}]]);
  for (const { name, type } of memoryRows) {
    const value = asked.get(name);
    const group = groupOf(name);
    const tree = trees.get(group);
    if (value === undefined || tree === undefined || type.kind === "members") continue;
    const own: Tree = {};
    if (type.kind === "group") trees.set(name, own);
    tree[name.slice(name.lastIndexOf(".") + 1)] = type.kind === "group" ? own : value;
  }
  // Each value has the type of its row, because `readValue` has checked it.
  return (trees.get(undefined) ?? {}) as MemoryStream;
}

export function askedByLibvirt({ flags, parameters }: AskedOfLibvirt): Asked {
  const asked = new Map<OptionName, OptionValue>();
  for (const { name, type, libvirt } of optionRows) {
    const { flag, as } = libvirt ?? {};
    if (flag === undefined && as === undefined) continue;
    const value = readValue(type, as === undefined ? flag !== undefined && flags.has(flag) : parameters[as]);
    if (value === undefined) continue;
    const group = groupOf(name);
    // libvirt treats a list of compression methods as a request to compress.
    if (type.kind === "members" && group !== undefined) asked.set(group, true);
    asked.set(name, value);
  }
  return withMembers(asked);
}

/** Leaves out options that libvirt does not have. */
export function libvirtOf(asked: Asked): {
  readonly flags: MigrateFlag[];
  readonly parameters: MigrateParameters;
} {
  const given = optionRows.flatMap(({ name, libvirt = {} }) => {
    const value = asked.get(name);
    return value === undefined ? [] : [{ ...libvirt, value }];
  });
  return {
    flags: given.flatMap(({ flag }) => flag ?? []),
    parameters: Object.fromEntries(given.flatMap(({ as, value }) => (as === undefined ? [] : [[as, value]]))),
  };
}

export interface CommandLineName {
  /** As written on the command line, such as `--no-tls-verify`. */
  readonly long: string;
  /** As commander names it, such as `tlsVerify`. */
  readonly attribute: string;
  readonly isNegated: boolean;
}

export function commandLineName({ cli }: Pick<OptionRow, "cli">): CommandLineName | undefined {
  const [long] = cli?.words.split(" ") ?? [];
  if (long === undefined) return undefined;
  const isNegated = long.startsWith("--no-");
  const attribute = long
    .slice(isNegated ? "--no-".length : "--".length)
    .replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
  return { long, attribute, isNegated };
}

/** `words`: the options as commander parsed them, by commander's names. */
export function askedByWords(words: object, rows: readonly OptionRow[] = optionRows): Asked {
  const said = new Map<string, unknown>(Object.entries(words));
  const asked = new Map<OptionName, OptionValue>();
  for (const row of rows) {
    const known = commandLineName(row);
    const value = known && readValue(row.type, said.get(known.attribute));
    if (known === undefined || value === undefined) continue;
    const group = groupOf(row.name);
    // Commander reports true for a `--no-…` option that was not given.
    if (known.isNegated && value === true && (group === undefined || !asked.has(group))) continue;
    if (group !== undefined && !canBeTurnedOn(rowOf(group))) asked.set(group, true);
    asked.set(row.name, value);
  }
  return withMembers(asked);
}

/** A group without an option of its own is on when one of its members is given. */
const canBeTurnedOn = ({ cli, libvirt }: OptionRow): boolean => cli !== undefined || libvirt !== undefined;

/** Turns on the members that lists name, and the default member of a group for which none is named. */
function withMembers(asked: ReadonlyMap<OptionName, OptionValue>): Asked {
  const all = new Map(asked);
  for (const { name, type } of optionRows) {
    const words = asked.get(name);
    const group = groupOf(name);
    if (type.kind !== "members" || group === undefined) continue;
    if (Array.isArray(words)) {
      for (const member of words.flatMap((word: string) => memberOf(group, word) ?? []))
        all.set(member, true);
    } else {
      const { defaultMember } = rowOf(group);
      const isFree = (member: OptionName) => [...asked.keys()].every((other) => !excludes(member, other));
      if (asked.has(group) && defaultMember !== undefined && isFree(defaultMember))
        all.set(defaultMember, true);
    }
  }
  return all;
}

export const namesOfMembers = (group: OptionName): string[] =>
  membersOf(group).flatMap(({ name, type }) => (type.kind === "group" ? name.slice(group.length + 1) : []));
