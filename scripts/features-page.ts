// docs/features.md: libvirt's migration flags and typed parameters against what there is here. What is refused between
// hosts and why is the daemon's own table; each test that is named must be there.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { flagNames, migrateFlags } from "../src/drivers/libvirt/client/flags.js";
import { type OptionRow, optionRows } from "../src/protocol/options/table.js";
import { type Feature, flagRows, type OptionPath, parameterRows, type Shown } from "./features.js";
import { table } from "./table.js";

const refusedAll: Shown = [
  "e2e/hosts/step-forms.test.ts",
  "each unsupported flag and parameter is refused with its reason",
];

function link([file, name]: Shown): string {
  const path = `test/${file}`;
  const text = readFileSync(path, "utf8");
  if (!['"', "`"].some((quote) => text.includes(quote + name)))
    throw new Error(`${path} has no test "${name}"`);
  return `[${file}](../${path}): ${name.replaceAll("%s", "…")}`;
}

/** Every test whose name is written out, by its file. */
const tests: readonly Shown[] = readdirSync("test", { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".test.ts"))
  .sort()
  .flatMap((file) =>
    [...readFileSync(join("test", file), "utf8").matchAll(/(?:\btest|\))\(\s*(["`])((?:(?!\1).)+)\1/g)].map(
      ([, , name = ""]): Shown => [file, name],
    ),
  );

function shownBy({ virsh }: OptionRow, name: string, feature: Feature | undefined): readonly Shown[] {
  if (feature !== undefined) {
    const between = virsh?.refused === undefined ? feature.between : refusedAll;
    if (between === undefined)
      throw new Error(`${name} works between hosts: name the test that shows it in scripts/features.ts`);
    return feature.shown === undefined ? [between] : [feature.shown, between];
  }
  if (virsh?.refused !== undefined) return [refusedAll];
  const named = tests.filter(([, test]) => test.includes(name) || test.includes(virsh?.option ?? name));
  if (named.length === 0)
    throw new Error(
      `no test has ${name} or ${virsh?.option} in its name; write one, or name it in scripts/features.ts`,
    );
  return named;
}

function inProcess({ name, local }: OptionRow, note: string | undefined): string {
  if (typeof local === "object") return local.none;
  const option: OptionPath | undefined = local;
  return `\`${option ?? `stream.${name}`}\`${note === undefined ? "" : `: ${note}`}`;
}

function between({ refused, note }: NonNullable<OptionRow["virsh"]>): string {
  if (refused !== undefined) return `refused: ${refused}`;
  return note === undefined ? "yes" : `yes: ${note}`;
}

function row(
  name: string,
  option: OptionRow,
  feature: Feature | undefined,
  bit?: number,
): (string | number)[] {
  const { virsh } = option;
  if (virsh === undefined) throw new Error(`no option of virsh stands for ${name}`);
  return [
    `\`${name}\``,
    ...(bit === undefined ? [] : [bit]),
    `\`${virsh.option}\`${virsh.since === undefined ? "" : ` (since libvirt ${virsh.since})`}`,
    inProcess(option, feature?.note),
    between(virsh),
    [...new Set(shownBy(option, name, feature).map(link))].join("<br/>"),
  ];
}

const flagRow = (flag: (typeof flagNames)[number]) => {
  const option = optionRows.find(({ libvirt }) => libvirt?.flag === flag);
  if (option === undefined) throw new Error(`no option stands for ${flag}`);
  return row(flag, option, flagRows[flag], migrateFlags.get(flag));
};

const parameterTable = optionRows.flatMap((option) => {
  const { parameter } = option.libvirt ?? {};
  return parameter === undefined ? [] : [row(parameter, option, parameterRows[parameter])];
});

const columns = ["virsh's word", "in one process: option of `migrate`", "between hosts", "shown by"];

export const featuresPage = (): string => `# libvirt's flags and parameters, and what there is here

All of libvirt 9.0's \`VIR_MIGRATE_*\` flags and \`VIR_MIGRATE_PARAM_*\`. The embedded API moves a guest between two QEMUs of one machine; between hosts it is two \`switchoverd\`, or one and a \`libvirtd\`.

## Flags

${table(["flag", "bit", ...columns], flagNames.map(flagRow))}

## Typed parameters

${table(["parameter", ...columns], parameterTable)}

## Around the guest

- **Its network.** When it begins to run at the destination, in post-copy long before it has arrived, QEMU announces it to the switches (\`announce-self\`, docs/decisions/0017).
- **Its clocks.** The hardware clock's state, with what \`-rtc base=…\` has made of it, is part of the devices' state: it goes on at the destination as it went, whatever the destination's \`-rtc\` says. The guest's own clock is behind by the pause, as after libvirt's migration; \`syncTime\` has its agent set it, as \`virsh domtime --sync\` does.
- **Its graphics.** \`graphics\` tells SPICE's clients where it goes; its QEMU is ended when they have left, after 8 s at the latest.

None of these fails a migration; the outcome's \`dropped\` tells what was not done.
`;
