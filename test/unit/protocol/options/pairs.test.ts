// Tests options in combination: every two rows of the table, in each interface that accepts options.

import { Command } from "commander";
import { describe, expect, test } from "vitest";
import {
  askedBetween,
  hostOptions,
  type StreamFlags,
  streamOptions,
  streamWithin,
} from "../../../../src/cli/options/stream-options.js";
import { checkTogether } from "../../../../src/daemon/migrations/flag-conflicts.js";
import {
  bitsOf,
  flagsOf,
  isWrong,
  parametersOf,
  toParameters,
} from "../../../../src/drivers/libvirt/client/flags.js";
import { errorCodes, LibvirtError } from "../../../../src/drivers/libvirt/rpc/libvirt-error.js";
import { type Knowledge, negotiate } from "../../../../src/drivers/qemu/migration/negotiate.js";
import { rows as settings } from "../../../../src/drivers/qemu/migration/option-table.js";
import { migrationParameterNames } from "../../../../src/drivers/qemu/monitor/commands.js";
import {
  askedByLibvirt,
  askedByStream,
  askedByWords,
  commandLineName,
  libvirtOf,
  streamOf,
} from "../../../../src/protocol/options/asked.js";
import { commandLineNames, libraryNames, libvirtNames } from "../../../../src/protocol/options/names.js";
import {
  groupOf,
  isMemoryOption,
  memoryRows,
  type OptionName,
  type OptionRow,
  optionRows,
  rowOf,
} from "../../../../src/protocol/options/table.js";
import { checkStream } from "../../../../src/protocol/stream.js";
import { type Combination, combine, excludedIn, listed, pairsOf } from "./combinations.js";

const only = (combination: Combination, isMeant: (row: OptionRow) => boolean): Combination =>
  new Map([...combination].filter(([name]) => isMeant(rowOf(name))));

const isStreams = ({ name, type }: OptionRow) => isMemoryOption(name) && type.kind !== "members";

/** Returns the message of the refusal; undefined when there is none. */
function refusalOf(check: () => unknown): string | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    if (error instanceof Error) return error.message;
    throw error;
  }
}

type Excluded = ReturnType<typeof excludedIn>;

/** Checks for one sentence that names both of two options that exclude each other, and for none where no row excludes. */
function expectRefusal(
  refused: string | undefined,
  excluded: Excluded,
  nameOf: (name: OptionName) => string,
  what: string,
): void {
  if (refused === undefined || excluded.length === 0) {
    expect([refused, excluded], what).toEqual([undefined, []]);
    return;
  }
  expect(refused.split("\n"), what).toHaveLength(1);
  expect(
    excluded.some((both) => both.every((name) => refused.includes(nameOf(name)))),
    `${what}: ${refused}`,
  ).toBe(true);
}

const knowing: Knowledge = {
  capabilities: settings.flatMap(({ capability }) => capability ?? []),
  parameters: migrationParameterNames,
  words: () => undefined,
};

/** Checks that both QEMUs are set as the rows of the requested options declare, and to nothing else. */
function expectSettings(asked: Combination, what: string): void {
  for (const side of ["source", "destination"] as const) {
    const set = negotiate({ ...streamOf(asked), host: "there" }, side, knowing, knowing.capabilities);
    if ("refused" in set) throw new Error(`${what}: ${set.refused}`);
    const parameters = new Map<string, unknown>(Object.entries(set.wished));
    for (const { name, qemu = {} } of memoryRows) {
      const { capability, of, parameter, at = side, unit = 1 } = qemu;
      const value = asked.get(name);
      const isHere = value !== undefined && (of !== "source" || side === "source");
      if (capability !== undefined)
        expect(
          set.capabilities.find((each) => each.capability === capability)?.state,
          `${what} at the ${side}: ${capability}`,
        ).toBe(isHere);
      if (isHere)
        for (const [fixed, state] of Object.entries(qemu.sets ?? {}))
          expect(parameters.get(fixed), `${what} at the ${side}: ${fixed}`).toBe(state);
      const group = groupOf(name);
      const isSources = (of ?? (group === undefined ? undefined : rowOf(group).qemu?.of)) === "source";
      const isTuned = !isSources || side === "source";
      if (parameter !== undefined && value !== undefined && isTuned && at === side)
        expect(parameters.get(parameter), `${what} at the ${side}: ${parameter}`).toBe(
          typeof value === "number" ? value * unit : value,
        );
      const isElsewhere = at !== side || (group !== undefined && !asked.has(group));
      if (parameter !== undefined && isElsewhere)
        expect(parameters.has(parameter), `${what} at the ${side}: ${parameter}`).toBe(false);
    }
  }
}

describe("every two options of the table", () => {
  test("are applied to both QEMUs as both rows declare, or refused by the library with a sentence that names both", () => {
    const pairs = pairsOf(optionRows.filter((row) => isStreams(row) || row.name === "transport.unix"));
    let refusals = 0;
    for (const pair of pairs) {
      const what = pair.join(" and ");
      const asked = combine(...pair);
      const transport = asked.has("transport.unix") ? "unix" : "tcp";
      const wish = streamOf(asked);
      const excluded = excludedIn(only(asked, (row) => isStreams(row) || row.name === "transport.unix"));
      expectRefusal(
        refusalOf(() => checkStream(wish, transport)),
        excluded,
        libraryNames.option,
        what,
      );
      expect(only(askedByStream(wish), isStreams), what).toEqual(only(asked, isStreams));
      if (excluded.length === 0) expectSettings(asked, what);
      else refusals += 1;
    }
    expect(refusals).toBeGreaterThan(10);
    expect(pairs.length - refusals).toBeGreaterThan(100);
  });

  test("are sent to a host as both rows declare, or are refused there with the row's code and a sentence that names both", () => {
    const rows = optionRows.filter(
      ({ libvirt, virsh, type }) =>
        libvirt !== undefined && virsh?.refused === undefined && type.kind !== "members",
    );
    let refusals = 0;
    for (const pair of pairsOf(rows)) {
      const what = pair.join(" and ");
      const asked = listed(combine(...pair));
      const { flags, parameters } = libvirtOf(asked);
      const sent = parametersOf(toParameters(parameters));
      const read = { flags: flagsOf(bitsOf(flags)).flags, parameters: isWrong(sent) ? {} : sent };
      const known = only(asked, ({ libvirt }) => libvirt !== undefined);
      expect(askedByLibvirt(read), what).toEqual(known);
      const cookie = new Uint8Array();
      const excluded = excludedIn(known);
      let refused: string | undefined;
      try {
        checkTogether({ ...read, cookie }, { side: "source" });
      } catch (error) {
        if (!(error instanceof LibvirtError)) throw error;
        refused = error.message;
        const codes = excluded.map(
          ([name, other]) => rowOf(name).excludes?.find(({ option }) => option === other)?.code,
        );
        expect(
          codes.map((code = "INVALID_ARG") => errorCodes[code]),
          what,
        ).toContain(error.code);
      }
      expectRefusal(refused, excluded, libvirtNames.option, what);
      if (excluded.length > 0) refusals += 1;
    }
    expect(refusals).toBeGreaterThan(20);
  });

  test("are parsed from the command line as both rows declare, or refused there with a sentence that names both", () => {
    const rows = optionRows.filter(({ cli, type }) => cli !== undefined && type.kind !== "members");
    let refusals = 0;
    for (const pair of pairsOf(rows)) {
      const what = pair.join(" and ");
      const asked = listed(combine(...pair));
      const words = parsed(asked);
      const expected = new Map(asked);
      expected.delete("live");
      expect(askedByWords(words), what).toEqual(withImplied(expected));
      const unknown = [...asked.keys()].find((name) => isOurs(rowOf(name)));
      const excluded = excludedIn(asked);
      const refused = refusalOf(() => askedBetween(words));
      if (unknown === undefined) expectRefusal(refused, excluded, commandLineNames.option, what);
      else
        expect(refused, what).toContain(
          `${commandLineName(rowOf(unknown))?.long} is not supported between hosts`,
        );
      if (excluded.length > 0) refusals += 1;
      if (![...asked.keys()].every((name) => name === "live" || isMemoryOption(name))) continue;
      const within = refusalOf(() => streamWithin(words, "tcp"));
      expectRefusal(within, excluded, commandLineNames.option, what);
      if (excluded.length === 0)
        expect(only(askedByStream(streamWithin(words, "tcp")), isStreams), what).toEqual(
          only(withImplied(asked), isStreams),
        );
    }
    expect(refusals).toBeGreaterThan(20);
  });
});

/** An option of ours that no libvirt host supports. */
const isOurs = (row: OptionRow): boolean => row.libvirt === undefined && row.cli !== undefined;

/** Commander sets `--no-…` options to true when they are not given. */
function withImplied(asked: Combination): Combination {
  const all = new Map(asked);
  for (const row of optionRows) {
    const group = groupOf(row.name);
    if (
      commandLineName(row)?.isNegated === true &&
      group !== undefined &&
      all.has(group) &&
      !all.has(row.name)
    )
      all.set(row.name, true);
  }
  return all;
}

/** Parses options as the command line's own parser does. */
function parsed(asked: Combination): StreamFlags {
  const command = new Command();
  for (const option of [...streamOptions(Number), ...hostOptions(Number)]) command.addOption(option);
  const argv = [...asked].flatMap(([name, value]) => {
    const long = commandLineName(rowOf(name))?.long;
    if (long === undefined) return [];
    return typeof value === "boolean" ? [long] : [long, [value].flat().join(",")];
  });
  return command.parse(argv, { from: "user" }).opts();
}
