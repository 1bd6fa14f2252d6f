// Every migration capability of QEMU that is set, and its parameters: one row for each option, derived from the table
// of migration options, after those that no caller chooses. negotiate.ts decides which of them apply.

import type { OptionValue } from "../../../protocol/options/asked.js";
import { type Asked, askedByStream } from "../../../protocol/options/asked.js";
import { tlsId } from "../../../protocol/options/memory.js";
import { groupOf, memoryRows, type OptionName, type OptionRow } from "../../../protocol/options/table.js";
import type { StreamOptions } from "../../../protocol/stream.js";
import type { CommandArguments } from "../monitor/commands.js";

export { tlsId };

export type Parameters = CommandArguments<"migrate-set-parameters">;
export type Side = "source" | "destination";

/** The requested options of one migration. */
export interface SideOptions extends StreamOptions {
  /** Whether QEMU waits between the guest's stop and the switchover until migrate-continue. */
  readonly pauseBeforeSwitchover?: boolean;
  /** The destination's host name, where the stream's address does not contain it. */
  readonly host?: string | undefined;
}

/** The requested options by their rows. */
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
  /** The option's name for users. */
  readonly option: string;
  readonly wished: (wished: Wished) => boolean;
  readonly capability?: string;
  /**
   * Which side is concerned: an option of the stream must be supported by both QEMUs; the others only by the source,
   * or by each side separately.
   */
  readonly of: "stream" | "each" | "source";
  /** Left out and reported where a QEMU does not support it; otherwise an unsupported option is refused. */
  readonly mayBeMissing?: true;
  /** Parameters set together with the capability, when it is requested. */
  readonly parameters?: (wished: Wished, side: Side) => Parameters;
  /** Parameters set when it is not requested; the capability is turned off anyway. */
  readonly off?: Parameters;
  /** Which QEMUs support it, as the end of an error message. */
  readonly age?: string;
}

const always = () => true;

const ours: readonly Row[] = [
  // Without it the switchover would have to be polled.
  { option: "events", wished: always, capability: "events", of: "each" },
  // Without it no side runs the guest after the destination failed to load the stream (QEMU 7.2: 7 of 12 failures).
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
    // Set only when work is to be done at that point (docs/decisions/0004).
    option: "pauseBeforeSwitchover",
    wished: ({ pauseBeforeSwitchover }) => pauseBeforeSwitchover === true,
    capability: "pause-before-switchover",
    of: "source",
  },
];

export const rows: readonly Row[] = [...ours, ...memoryRows.flatMap(settingOf)];

/**
 * Builds the row of QEMU's settings for an independent option; an option that tunes a group is part of the group's
 * row.
 */
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
  if (since !== undefined) return `, which QEMU supports since ${since}`;
  return until === undefined ? "" : `, which QEMU dropped in ${until}`;
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
  throw new TypeError(`QEMU's parameter of ${name} is neither a number nor a string`);
}

/** Returns the capabilities that a QEMU must have for this migration. */
export function neededCapabilities(wish: SideOptions): readonly string[] {
  const wished = wishedOf(wish);
  return rows.flatMap((row) =>
    row.wished(wished) && row.mayBeMissing !== true ? (row.capability ?? []) : [],
  );
}
