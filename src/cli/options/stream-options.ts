// The migration options of the command line, derived from the option table; virsh's names are used where virsh has one.
// They are converted to the library's options object within one machine, and to libvirt's flags and parameters between hosts.

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
    `drop these options where QEMU does not support them instead of refusing the migration: ${optionalOptions.join(", ")}`,
  ).argParser(list);

/** The options of the memory stream, in the order of the help. */
export const streamOptions = (number: ReadNumber): readonly Option[] => [
  ...memoryRows.flatMap(optionOf(number)),
  optional(),
];

/** The further options of a migration between hosts. */
export const hostOptions = (number: ReadNumber): readonly Option[] =>
  optionRows.filter(({ name }) => !isMemoryOption(name)).flatMap(optionOf(number));

/** The memory stream options that libvirt supports and that need no action while the migration runs. */
export const streamOptionsBetween = (number: ReadNumber): readonly Option[] =>
  memoryRows
    .filter(({ cli, libvirt }) => libvirt !== undefined && cli?.steered !== true)
    .flatMap(optionOf(number));

/** The options as they are sent to libvirt hosts. */
export interface AskedStream {
  readonly flags: readonly MigrateFlag[];
  readonly parameters: MigrateParameters;
  /** Options that libvirt does not have. */
  readonly strange: readonly string[];
}

export function askedStream(flags: StreamFlags): AskedStream {
  const asked = askedByWords(flags);
  const strange = optionRows.flatMap((row) => {
    const value = asked.get(row.name);
    const known = commandLineName(row);
    const isSaid = value !== undefined && !(known?.isNegated === true && value === true);
    return isSaid && row.libvirt === undefined ? (known?.long ?? []) : [];
  });
  return {
    ...libvirtOf(asked),
    strange: [...strange, ...(flags.optional === undefined ? [] : ["--optional"])],
  };
}

/** @throws Error naming an option that libvirt hosts do not support, or that conflicts with another. */
export function askedBetween(flags: StreamFlags & { readonly offline?: boolean }): Asked {
  const [strange] = askedStream(flags).strange;
  if (strange !== undefined) throw new Error(`${strange} is not supported between hosts; leave it out`);
  const asked = askedByWords(flags);
  const live = new Map(asked).set("live", true);
  check(live);
  return flags.offline === true ? asked : live;
}

/** Returns the stream options for a migration within one machine. @throws RangeError when options conflict. */
export function streamWithin(flags: StreamFlags, transport: "unix" | "tcp"): StreamOptions {
  const asked = new Map(askedByWords(flags, memoryRows)).set("live", true);
  if (transport === "unix") asked.set("transport.unix", true);
  check(asked);
  return streamOf(flags);
}

/** @throws RangeError when an option tunes a feature that is not enabled; conflicts are checked later. */
export function streamOf(flags: StreamFlags): StreamOptions {
  const asked = askedByWords(flags, memoryRows);
  check(asked, ({ kind }) => kind === "tunes");
  return { ...streamOfAsked(asked), ...(flags.optional && { optional: flags.optional }) };
}

function check(asked: Asked, isMeant: (refusal: Refusal) => boolean = () => true): void {
  for (const refusal of refusalsOf(asked, commandLineNames))
    if (isMeant(refusal)) throw new RangeError(refusal.message);
}
