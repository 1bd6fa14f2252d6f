// Finds invalid requests: a value out of its range, an option without the one that it tunes or needs, two options
// that exclude each other. The rows declare the rules; the library, the command line and the hosts all check here.

import { type Asked, namesOfMembers } from "./asked.js";
import { exclusions } from "./exclusion.js";
import type { Names } from "./names.js";
import type { RefusalCode, Relation } from "./row.js";
import { groupOf, isMemoryOption, membersOf, type OptionName, type OptionRow, optionRows } from "./table.js";

export interface Refusal {
  readonly kind: "tunes" | "value" | "needs" | "excludes";
  /** Names every option concerned. */
  readonly message: string;
  readonly code: RefusalCode;
  readonly options: readonly OptionName[];
  readonly byClient: boolean;
}

type Rule = (asked: Asked, row: OptionRow, names: Names) => Refusal | readonly Refusal[] | undefined;

/** Yields every refusal of the request, in the order of the table. */
export function* refusalsOf(asked: Asked, names: Names): Generator<Refusal, undefined> {
  for (const row of optionRows)
    if (asked.has(row.name))
      for (const rule of rules)
        for (const refusal of [rule(asked, row, names) ?? []].flat())
          if (!isMoot(asked, refusal)) yield refusal;
  return undefined;
}

/** An offline migration has no memory stream and ignores its options. */
const isMoot = (asked: Asked, { options }: Refusal): boolean =>
  asked.has("offline") && options.every(isMemoryOption);

const refusal = (
  kind: Refusal["kind"],
  message: string,
  options: readonly OptionName[],
  { code = "INVALID_ARG", byClient }: Pick<Relation, "code" | "byClient"> = {},
): Refusal => ({ kind, message, options, code, byClient: byClient === true });

/** A member of a list counts as the option itself; the refusal names the list. */
const tunes: Rule = (asked, { name, type, libvirt }, names) => {
  const group = groupOf(name);
  if (group === undefined || asked.has(group) || isAccepted(libvirt, names)) return undefined;
  if (type.kind === "group") return undefined;
  return refusal("tunes", names.tunes(name, group), [name, group]);
};

const isAccepted = (libvirt: OptionRow["libvirt"], { ignoresAlone }: Names): boolean =>
  ignoresAlone && libvirt?.ignoredAlone === true;

const members: Rule = (asked, { name, type }, names) => {
  const words = asked.get(name);
  const group = groupOf(name);
  if (type.kind !== "members" || group === undefined || !Array.isArray(words)) return undefined;
  const known = namesOfMembers(group);
  const strange: string | undefined = words.find((word: string) => !known.includes(word));
  if (strange !== undefined) return refusal("tunes", names.noMember(name, group, strange), [name]);
  const twice: string | undefined = words.find((word: string, at) => words.indexOf(word) !== at);
  return twice === undefined
    ? undefined
    : refusal("value", `the ${group} method '${twice}' is specified twice; name it once`, [name]);
};

const text: Rule = (asked, { name, type }, names) =>
  type.kind === "text" && isMemoryOption(name) && asked.get(name) === ""
    ? refusal("value", `${names.value(name)} is empty; it must be a text`, [name])
    : undefined;

const range: Rule = (asked, { name, type, atMost }, names) => {
  const value = asked.get(name);
  const group = groupOf(name);
  if (type.kind !== "number" || typeof value !== "number") return undefined;
  if (group !== undefined && !asked.has(group)) return undefined;
  if (!(Number.isInteger(value) && value >= type.min && value <= type.max))
    return refusal(
      "value",
      `${names.value(name)} is ${value}; it must be a whole number from ${type.min} to ${type.max}`,
      [name],
    );
  if (type.powerOfTwo === true && !Number.isInteger(Math.log2(value)))
    return refusal(
      "value",
      `${names.value(name)} is ${value}; QEMU requires a power of two, such as ${2 ** Math.round(Math.log2(value))}`,
      [name],
    );
  const limit = atMost === undefined ? undefined : asked.get(atMost);
  if (atMost === undefined || typeof limit !== "number" || value <= limit) return undefined;
  const [larger, smaller] = [names.value(atMost), names.short(name)];
  return refusal("value", `${larger} is ${limit}, less than ${smaller}, ${value}; raise ${larger}`, [
    name,
    atMost,
  ]);
};

const needsMember: Rule = (asked, { name, needsMember: sentence }) => {
  if (sentence === undefined) return undefined;
  // A list with unknown members is refused by its own row.
  const isNamed = membersOf(name).some(({ name: member, type: { kind } }) =>
    kind === "members" ? [asked.get(member) ?? []].flat().length > 0 : kind === "group" && asked.has(member),
  );
  return isNamed ? undefined : refusal("needs", sentence, [name]);
};

const needs: Rule = (asked, { name, needs: all = [] }, names) =>
  all
    .filter(
      ({ option, orOption, onlyWith }) =>
        !asked.has(option) &&
        (orOption === undefined || !asked.has(orOption)) &&
        (onlyWith === undefined || asked.has(onlyWith)),
    )
    .map((missing) => {
      const { option, orOption, why } = missing;
      const needed = [option, orOption ?? []].flat().map(names.option).join(" or ");
      return refusal("needs", `${why} (${names.option(name)} needs ${needed})`, [name, option], missing);
    });

const excluded: Rule = (asked, { name }, names) =>
  exclusions
    .filter((relation) => relation.name === name && asked.has(relation.option))
    .map((relation) => {
      const { option, why } = relation;
      const message = `${why} (${names.option(name)} excludes ${names.option(option)})`;
      return refusal("excludes", message, [name, option], relation);
    });

const rules: readonly Rule[] = [members, tunes, text, range, needsMember, needs, excluded];
