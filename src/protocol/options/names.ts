// The names of options in messages, for each kind of reader: a program that uses the library, the command line, or a
// client of libvirt's API.

import { commandLineName, namesOfMembers } from "./asked.js";
import { groupOf, isMemoryOption, membersOf, type OptionName, rowOf } from "./table.js";

export interface Names {
  readonly option: (name: OptionName) => string;
  /** The option's name beside its value. */
  readonly value: (name: OptionName) => string;
  /** The option's name beside another option of its group. */
  readonly short: (name: OptionName) => string;
  /** Whether an option that tunes nothing is accepted where libvirt accepts it. */
  readonly ignoresAlone: boolean;
  /** The message for an option whose group is off. */
  readonly tunes: (name: OptionName, group: OptionName) => string;
  /** The message for a member that the group does not have. */
  readonly noMember: (name: OptionName, group: OptionName, word: string) => string;
}

const listOf = (group: OptionName) => namesOfMembers(group).join(", ");
const lastOf = (name: OptionName) => name.slice(name.lastIndexOf(".") + 1);

export const libraryNames: Names = {
  option: (name) => name,
  value: (name) => (isMemoryOption(name) ? `stream.${name}` : name),
  short: lastOf,
  ignoresAlone: false,
  tunes: (name, group) => `${name} needs ${group}; add it`,
  noMember: (name, group, word) => `${name} does not support ${word}; choose from ${listOf(group)}`,
};

function onCommandLine(name: OptionName): string {
  const row = rowOf(name);
  const group = groupOf(name);
  const own = commandLineName(row)?.long;
  if (own !== undefined) return own;
  const listed =
    group === undefined ? undefined : membersOf(group).find(({ type }) => type.kind === "members");
  const list = listed === undefined ? undefined : commandLineName(listed)?.long;
  if (list !== undefined && row.type.kind === "group") return `${list} ${lastOf(name)}`;
  const [member] = membersOf(name).flatMap((each) => commandLineName(each)?.long ?? []);
  return member ?? row.called ?? name;
}

export const commandLineNames: Names = {
  option: onCommandLine,
  value: onCommandLine,
  short: onCommandLine,
  ignoresAlone: false,
  tunes: (name, group) => `${onCommandLine(name)} needs ${onCommandLine(group)}; add it`,
  noMember: (name, group, word) =>
    `${onCommandLine(name)} does not support ${word}; choose from ${listOf(group)}`,
};

function inLibvirt(name: OptionName): string {
  const { libvirt, called } = rowOf(name);
  const { flag, parameter, listed } = libvirt ?? {};
  if (flag !== undefined) return flag;
  if (parameter !== undefined) return `'${parameter}'`;
  return listed === undefined ? (called ?? name) : `the ${groupOf(name)} method ${listed}`;
}

function withVirsh(name: OptionName): string {
  const option = rowOf(name).virsh?.option;
  return option === undefined ? inLibvirt(name) : `${inLibvirt(name)} (${option})`;
}

export const libvirtNames: Names = {
  option: inLibvirt,
  value: (name) => `the migration parameter ${inLibvirt(name)}`,
  short: inLibvirt,
  ignoresAlone: true,
  tunes: (name, group) =>
    `the migration parameter ${inLibvirt(name)} tunes ${withVirsh(group)}, which is off; turn it on`,
  noMember: (_, group, word) => `Unsupported ${group} method '${word}'; choose from ${listOf(group)}`,
};
