// Combines options of the table, each with the options that its row requires, so that a refusal can only be due to the
// combination under test.

import type { OptionValue } from "../../../../src/protocol/options/asked.js";
import {
  groupOf,
  memberOf,
  membersOf,
  type OptionName,
  type OptionRow,
  rowOf,
} from "../../../../src/protocol/options/table.js";

export type Combination = ReadonlyMap<OptionName, OptionValue>;

/** A value that the option accepts. */
function valueFor({ name, type }: OptionRow): OptionValue {
  switch (type.kind) {
    case "group":
    case "switch":
      return true;
    case "choice":
      return false;
    case "number":
      return type.powerOfTwo === true ? type.min : type.min + 1;
    case "text":
    case "file":
      return `a-${name}`;
    case "list":
      return [`a-${name}`, `b-${name}`];
    case "members":
      return [];
  }
}

/** All pairs that exclude each other, as declared by either row. */
export const excludedIn = (combination: Combination): readonly (readonly [OptionName, OptionName])[] =>
  [...combination.keys()].flatMap((name) =>
    (rowOf(name).excludes ?? []).flatMap(({ option }) =>
      combination.has(option) ? [[name, option] as const] : [],
    ),
  );

const fits = (combination: Combination, name: OptionName): boolean =>
  excludedIn(new Map(combination).set(name, true)).length === 0;

/** The options that the rows require in addition. */
function missing(combination: Combination): OptionName | undefined {
  for (const name of combination.keys()) {
    const { needs = [], needsMember } = rowOf(name);
    const group = groupOf(name);
    if (group !== undefined && !combination.has(group)) return group;
    for (const { option, orOption, onlyWith } of needs) {
      const isThere = combination.has(option) || (orOption !== undefined && combination.has(orOption));
      if (!isThere && (onlyWith === undefined || combination.has(onlyWith))) return option;
    }
    if (needsMember === undefined) continue;
    const members = membersOf(name).flatMap((member) => (member.type.kind === "group" ? [member.name] : []));
    if (members.some((member) => combination.has(member))) continue;
    return members.find((member) => fits(combination, member)) ?? members[0];
  }
  return undefined;
}

/** The options, and those that they require. */
export function combine(...names: readonly OptionName[]): Combination {
  const combination = new Map<OptionName, OptionValue>();
  const add = (name: OptionName) => combination.set(name, valueFor(rowOf(name)));
  for (const name of names) add(name);
  for (let next = missing(combination); next !== undefined; next = missing(combination)) add(next);
  return combination;
}

/** With the list of each group's given members, in the form of libvirt and of the command line. */
export function listed(combination: Combination): Combination {
  const all = new Map(combination);
  for (const name of combination.keys())
    for (const { name: list, type } of membersOf(name)) {
      if (type.kind !== "members") continue;
      const words = [...combination.keys()].flatMap((member) =>
        groupOf(member) === name && memberOf(name, lastOf(member)) === member ? [lastOf(member)] : [],
      );
      all.set(list, words);
    }
  return all;
}

export const lastOf = (name: OptionName): string => name.slice(name.lastIndexOf(".") + 1);

export const pairsOf = (rows: readonly OptionRow[]): readonly (readonly [OptionName, OptionName])[] =>
  rows.flatMap(({ name }, at) => rows.slice(at + 1).map((other) => [name, other.name] as const));
