// The options of a migration on the command line, made from their rows: virsh's words where virsh has one. What they amount
// to is the library's object within one machine, and libvirt's flags and parameters between hosts.

import { Option } from "commander";
import {
  type Asked,
  askedByWords,
  commandLineName,
  libvirtOf,
  streamOf as streamOfAsked,
} from "../../protocol/options/asked.js";
import { commandLineNames } from "../../protocol/options/names.js";
import { type Refusal, refusalsOf } from "../../protocol/options/rules.js";
import {
  isMemoryOption,
  type MigrateFlag,
  type MigrateParameters,
  memoryRows,
  type OptionRow,
  type OptionWords,
  optionalOptions,
  optionRows,
} from "../../protocol/options/table.js";
import type { OptionalOption, StreamOptions } from "../../protocol/stream.js";

export interface StreamFlags extends OptionWords {
  readonly optional?: readonly OptionalOption[];
}

const list = (text: string) => text.split(",").filter((word) => word !== "");

type ReadNumber = (text: string) => number;

const optionOf =
  (number: ReadNumber) =>
  ({ cli, type: { kind } }: OptionRow): readonly Option[] => {
    if (cli === undefined) return [];
    const option = new Option(cli.words, cli.help);
    if (kind === "number") return [option.argParser(number)];
    return [kind === "list" || kind === "members" ? option.argParser(list) : option];
  };

const optional = () =>
  new Option(
    "--optional <list>",
    `leave out what a QEMU does not know, of ${optionalOptions.join(", ")}; anything else is refused then`,
  ).argParser(list);

/** Those of the memory stream, in the order of the help. */
export const streamOptions = (number: ReadNumber): readonly Option[] => [
  ...memoryRows.flatMap(optionOf(number)),
  optional(),
];

/** Those that a migration between hosts has beside them. */
export const hostOptions = (number: ReadNumber): readonly Option[] =>
  optionRows.filter(({ name }) => !isMemoryOption(name)).flatMap(optionOf(number));

/** Those of the memory stream that libvirt's hosts know, and that need no steering. */
export const streamOptionsBetween = (number: ReadNumber): readonly Option[] =>
  memoryRows
    .filter(({ cli, libvirt }) => libvirt !== undefined && cli?.steered !== true)
    .flatMap(optionOf(number));

/** As libvirt's hosts are asked for them. */
export interface AskedStream {
  readonly flags: readonly MigrateFlag[];
  readonly parameters: MigrateParameters;
  /** Words of ours that libvirt has none for. */
  readonly strange: readonly string[];
}

export function askedStream(words: StreamFlags): AskedStream {
  const asked = askedByWords(words);
  const strange = optionRows.flatMap((row) => {
    const value = asked.get(row.name);
    const known = commandLineName(row);
    const isSaid = value !== undefined && !(known?.isNegated === true && value === true);
    return isSaid && row.libvirt === undefined ? (known?.long ?? []) : [];
  });
  return {
    ...libvirtOf(asked),
    strange: [...strange, ...(words.optional === undefined ? [] : ["--optional"])],
  };
}

/** @throws Error naming a word that libvirt's hosts do not know, or that does not go with the others. */
export function askedBetween(words: StreamFlags & { readonly offline?: boolean }): Asked {
  const [strange] = askedStream(words).strange;
  if (strange !== undefined) throw new Error(`between hosts ${strange} is not supported; leave it out`);
  const asked = askedByWords(words);
  const live = new Map(asked).set("live", true);
  check(live);
  return words.offline === true ? asked : live;
}

/** What it amounts to within one machine. @throws RangeError when words do not go together. */
export function streamWithin(words: StreamFlags, transport: "unix" | "tcp"): StreamOptions {
  const asked = new Map(askedByWords(words, memoryRows)).set("live", true);
  if (transport === "unix") asked.set("transport.unix", true);
  check(asked);
  return streamOf(words);
}

/** @throws RangeError when a word tunes what was not asked for; what does not go together is checked later. */
export function streamOf(words: StreamFlags): StreamOptions {
  const asked = askedByWords(words, memoryRows);
  check(asked, ({ kind }) => kind === "tunes");
  return { ...streamOfAsked(asked), ...(words.optional && { optional: words.optional }) };
}

function check(asked: Asked, isMeant: (refusal: Refusal) => boolean = () => true): void {
  for (const refusal of refusalsOf(asked, commandLineNames))
    if (isMeant(refusal)) throw new RangeError(refusal.message);
}
