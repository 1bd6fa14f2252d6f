// The table of migration options, and the types derived from its rows. The form of a row is in row.ts; the rows are
// in hosts.ts and memory.ts.

import { hostOptions } from "./hosts.js";
import { memoryOptions } from "./memory.js";
import type { MigrationOption } from "./row.js";

const table = { ...hostOptions, ...memoryOptions };
type Table = typeof table;

export type OptionName = keyof Table;
export type MemoryOptionName = keyof typeof memoryOptions;

type Named<Field extends "flag" | "as"> = {
  [Name in OptionName]: Table[Name] extends {
    readonly libvirt: { readonly [Key in Field]: infer Value extends string };
  }
    ? Value
    : never;
}[OptionName];
export type MigrateFlag = Named<"flag">;

type Value<Row> = Row extends { readonly type: { readonly kind: infer Kind } }
  ? Kind extends "number"
    ? number
    : Kind extends "text" | "file"
      ? string
      : Kind extends "list" | "members"
        ? readonly string[]
        : boolean
  : never;

/** Parameters of a migration in addition to its flags; an absent one is not sent. */
export type MigrateParameters = {
  readonly [Name in OptionName as Table[Name] extends {
    readonly libvirt: { readonly as: infer As extends string };
  }
    ? As
    : never]?: Value<Table[Name]>;
};

type Member<Prefix extends string, Name extends string> = Name extends `${Prefix}${infer Rest}`
  ? Rest extends `${string}.${string}`
    ? never
    : Rest
  : never;
type StreamAt<Prefix extends string> = {
  readonly [Name in MemoryOptionName as Table[Name]["type"]["kind"] extends "members"
    ? never
    : Member<Prefix, Name>]?: Table[Name]["type"]["kind"] extends "group"
    ? StreamAt<`${Name}.`>
    : Value<Table[Name]>;
};
export type MemoryStream = StreamAt<"">;

export type OptionalOption = {
  [Name in MemoryOptionName]: Table[Name] extends { readonly mayBeLeftOut: true } ? Name : never;
}[MemoryOptionName];

type CamelCase<Words extends string> = Words extends `${infer Head}-${infer Rest}`
  ? `${Head}${Capitalize<CamelCase<Rest>>}`
  : Words;
type Attribute<Words extends string> = Words extends `--no-${infer Name}`
  ? CamelCase<Name>
  : Words extends `--${infer Name} ${string}`
    ? CamelCase<Name>
    : Words extends `--${infer Name}`
      ? CamelCase<Name>
      : never;
/** The options as commander parses them. */
export type OptionWords = {
  readonly [Name in OptionName as Table[Name] extends {
    readonly cli: { readonly words: infer Words extends string };
  }
    ? Attribute<Words>
    : never]?: Value<Table[Name]>;
};

/** QEMU's migration parameters that take an option's value. */
export type OptionParameters = {
  readonly [Name in OptionName as Table[Name] extends {
    readonly qemu: { readonly parameter: infer Parameter extends string };
  }
    ? Parameter
    : never]: Value<Table[Name]>;
};

/** The options of the library's `migrate` that rows name. */
export type LocalOption = {
  [Name in OptionName]: Table[Name] extends { readonly local: infer Local } ? Extract<Local, string> : never;
}[OptionName];

export interface OptionRow
  extends Omit<MigrationOption<OptionName, MigrateFlag, keyof MigrateParameters>, "local"> {
  readonly name: OptionName;
  readonly local?: LocalOption | { readonly none: string };
}

/** A relation to an option without a row does not compile. */
const checked: Readonly<Record<OptionName, Omit<OptionRow, "name">>> = table;

export const optionNames = Object.keys(table) as OptionName[];

export const optionRows: readonly OptionRow[] = optionNames.map((name) => ({ name, ...checked[name] }));

export const rowOf = (name: OptionName): OptionRow => ({ name, ...checked[name] });

export const isMemoryOption = (name: OptionName): name is MemoryOptionName =>
  Object.hasOwn(memoryOptions, name);

export const memoryRows: readonly OptionRow[] = optionRows.filter(({ name }) => isMemoryOption(name));

const isOptionName = (name: string): name is OptionName => Object.hasOwn(table, name);

/** Returns the group that the option belongs to. */
export function groupOf(name: OptionName): OptionName | undefined {
  const group = name.slice(0, Math.max(0, name.lastIndexOf(".")));
  return isOptionName(group) ? group : undefined;
}

export const membersOf = (group: OptionName): readonly OptionRow[] =>
  optionRows.filter(({ name }) => groupOf(name) === group);

/** Returns the member of that group with this last name. */
export function memberOf(group: OptionName, word: string): OptionName | undefined {
  const name = `${group}.${word}`;
  return isOptionName(name) && checked[name].type.kind === "group" ? name : undefined;
}

export const optionalOptions: readonly OptionalOption[] = memoryRows.flatMap(({ name }) =>
  isOptional(name) ? [name] : [],
);

function isOptional(name: OptionName): name is OptionalOption {
  return checked[name].mayBeLeftOut === true;
}
