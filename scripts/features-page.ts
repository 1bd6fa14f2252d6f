// Prints docs/features.md: libvirt's migration flags and typed parameters, and the support for each. The daemon's own table
// states what is rejected between hosts and why; each test that is named must exist.

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

/** Every test whose name is a literal, with its file. */
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
  if (virsh === undefined) throw new Error(`no virsh option corresponds to ${name}`);
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
  if (option === undefined) throw new Error(`no option corresponds to ${flag}`);
  return row(flag, option, flagRows[flag], migrateFlags.get(flag));
};

const parameterTable = optionRows.flatMap((option) => {
  const { parameter } = option.libvirt ?? {};
  return parameter === undefined ? [] : [row(parameter, option, parameterRows[parameter])];
});

const columns = ["virsh option", "in one process: option of `migrate`", "between hosts", "shown by"];

export const featuresPage = (): string => `# Support for libvirt's migration flags and parameters

All of libvirt 9.0's \`VIR_MIGRATE_*\` flags and \`VIR_MIGRATE_PARAM_*\`. The embedded API migrates a guest between two QEMUs of one machine; a migration between hosts involves two \`switchoverd\`, or one and a \`libvirtd\`.

## Flags

${table(["flag", "bit", ...columns], flagNames.map(flagRow))}

## Typed parameters

${table(["parameter", ...columns], parameterTable)}

## Around the guest

- **Its network.** When the guest starts to run at the destination (in post-copy long before all of it has arrived), QEMU announces it to the switches (\`announce-self\`, docs/decisions/0017).
- **Its clocks.** The state of the hardware clock, including the effect of \`-rtc base=…\`, is part of the device state: it continues unchanged at the destination, whatever \`-rtc\` option the destination has. The guest's own clock is behind by the downtime, as after a migration by libvirt; \`syncTime\` lets the guest agent set it, as \`virsh domtime --sync\` does.
- **Its graphics.** \`graphics\` redirects SPICE clients to the destination; the source's QEMU is ended when they have disconnected, after 8 s at the latest.

None of these can fail a migration; the outcome's \`dropped\` lists what was not done.
`;
