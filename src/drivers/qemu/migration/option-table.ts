// Every migration capability of QEMU that we set, and the parameters beside it: one row for each option, made from the table
// of migration options, behind those that no caller chooses. Who decides from it is negotiate.ts.

import type { OptionValue } from "../../../protocol/options/asked.js";
import { type Asked, askedByStream } from "../../../protocol/options/asked.js";
import { tlsId } from "../../../protocol/options/memory.js";
import { groupOf, memoryRows, type OptionName, type OptionRow } from "../../../protocol/options/table.js";
import type { StreamOptions } from "../../../protocol/stream.js";
import type { CommandArguments } from "../monitor/commands.js";

export { tlsId };

export type Parameters = CommandArguments<"migrate-set-parameters">;
export type Side = "source" | "destination";

/** What is wished of one migration. */
export interface SideOptions extends StreamOptions {
  /** Whether QEMU is to wait between the guest's stop and the switchover, until it is told to go on. */
  readonly pauseBeforeSwitchover?: boolean;
  /** The destination's, where the stream's address does not tell it. */
  readonly host?: string | undefined;
}

/** The same by the rows of its options. */
export interface Wished extends Pick<SideOptions, "pauseBeforeSwitchover" | "host" | "optional"> {
  readonly asked: Asked;
}

export const wishedOf = (wish: SideOptions): Wished => ({
  asked: askedByStream(wish),
  ...(wish.pauseBeforeSwitchover !== undefined && { pauseBeforeSwitchover: wish.pauseBeforeSwitchover }),
  ...(wish.optional && { optional: wish.optional }),
  host: wish.host,
});

export interface Row {
  /** As a person names it. */
  readonly option: string;
  readonly wished: (wished: Wished) => boolean;
  readonly capability?: string;
  /** Whose affair it is: a change of the stream is both sides', and both have to know it; or one side's alone, or each side's. */
  readonly of: "stream" | "each" | "source";
  /** Left out, with a word, where a QEMU does not know it; what a person wishes is refused then. */
  readonly mayBeMissing?: true;
  /** Beside the capability, when it is wished. */
  readonly parameters?: (wished: Wished, side: Side) => Parameters;
  /** The same when it is not; a capability is put off anyway. */
  readonly off?: Parameters;
  /** Which QEMUs have it, as an end of the sentence that one lacks it. */
  readonly age?: string;
}

const always = () => true;

const ours: readonly Row[] = [
  // Without it the switchover would have to be polled.
  { option: "events", wished: always, capability: "events", of: "each" },
  // Without it a destination that cannot load the stream leaves nobody running (QEMU 7.2: 7 of 12 failures).
  { option: "return path", wished: always, capability: "return-path", of: "stream" },
  {
    option: "late activation of the disks",
    wished: always,
    capability: "late-block-activate",
    of: "each",
    mayBeMissing: true,
  },
  {
    option: "comparison of the uuids",
    wished: always,
    capability: "validate-uuid",
    of: "stream",
    mayBeMissing: true,
  },
  {
    // Only when there is something to do in it (docs/decisions/0004).
    option: "pauseBeforeSwitchover",
    wished: ({ pauseBeforeSwitchover }) => pauseBeforeSwitchover === true,
    capability: "pause-before-switchover",
    of: "source",
  },
];

export const rows: readonly Row[] = [...ours, ...memoryRows.flatMap(settingOf)];

/** A row of QEMU's settings for an option that is one by itself; what tunes a group is part of the group's. */
function settingOf(row: OptionRow): readonly Row[] {
  const { name, qemu } = row;
  if (qemu?.of === undefined) return [];
  const { of, capability, sets, clears: off } = qemu;
  const tuning = [
    row,
    ...memoryRows.filter((member) => groupOf(member.name) === name && member.qemu?.of === undefined),
  ];
  return [
    {
      option: name,
      of,
      age: ageOf(qemu),
      wished: ({ asked }) => asked.has(name),
      parameters: (wished, side) => ({
        ...sets,
        ...Object.fromEntries(tuning.flatMap((option) => parameterOf(option, wished, side))),
      }),
      ...(capability !== undefined && { capability }),
      ...(off && { off }),
    },
  ];
}

function ageOf({ since, until }: NonNullable<OptionRow["qemu"]>): string {
  if (since !== undefined) return `, which QEMU has since ${since}`;
  return until === undefined ? "" : `, which QEMU has dropped in ${until}`;
}

type Setting = readonly [parameter: string, value: string | number];

function parameterOf(
  { name, qemu = {} }: OptionRow,
  { asked, host }: Wished,
  side: Side,
): readonly Setting[] {
  const { parameter, at = side, unit = 1, defaultsToHost } = qemu;
  if (parameter === undefined || at !== side) return [];
  const value = asked.get(name) ?? qemu.default ?? (defaultsToHost === true ? (host ?? "") : undefined);
  return value === undefined ? [] : [[parameter, inQemu(name, value, unit)]];
}

function inQemu(name: OptionName, value: OptionValue, unit: number): string | number {
  if (typeof value === "number") return value * unit;
  if (typeof value === "string") return value;
  throw new TypeError(`QEMU's parameter of ${name} is neither a number nor a text`);
}

/** What no QEMU may lack that is to do this. */
export function neededCapabilities(wish: SideOptions): readonly string[] {
  const wished = wishedOf(wish);
  return rows.flatMap((row) =>
    row.wished(wished) && row.mayBeMissing !== true ? (row.capability ?? []) : [],
  );
}
