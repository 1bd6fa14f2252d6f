// docs/features.md: libvirt's migration flags and typed parameters against what there is here. What is refused between
// hosts and why is the daemon's own table; each test that is named must be there.

import { readFileSync } from "node:fs";
import { flagNames, migrateFlags } from "../src/drivers/libvirt/client/flags.js";
import { type VirshOption, virshOptions } from "../src/drivers/libvirt/client/virsh-options.js";
import { type Feature, flagRows, parameterRows, type Shown } from "./features.js";
import { table } from "./table.js";

const refusedAll: Shown = [
  "e2e/hosts/step-forms.test.ts",
  "each flag and parameter that is refused is so with its reason",
];

const byVirsh = Object.entries<VirshOption>(virshOptions);
const parameterNames = Object.values(virshOptions).flatMap((it) => ("parameter" in it ? it.parameter : []));

function link([file, name]: Shown): string {
  const path = `test/${file}`;
  const text = readFileSync(path, "utf8");
  if (!['"', "`"].some((quote) => text.includes(quote + name)))
    throw new Error(`${path} has no test "${name}"`);
  return `[${file}](../${path}): ${name.replaceAll("%s", "…")}`;
}

function row(name: string, feature: Feature | undefined, bit?: number): (string | number)[] {
  if (feature === undefined) throw new Error(`scripts/features.ts has no row for ${name}`);
  const [word, it] =
    byVirsh.find(([, is]) => ("flag" in is ? is.flag : "parameter" in is ? is.parameter : "") === name) ?? [];
  if (word === undefined || it === undefined) throw new Error(`no option of virsh stands for ${name}`);
  const between = it.refused === undefined ? feature.between : refusedAll;
  if (between === undefined)
    throw new Error(`${name} works between hosts: name the test that shows it in scripts/features.ts`);
  const shown = feature.shown === undefined ? [between] : [feature.shown, between];
  const here =
    "none" in feature ? feature.none : `\`${feature.option}\`${feature.note ? `: ${feature.note}` : ""}`;
  const there = it.refused === undefined ? `yes${it.note ? `: ${it.note}` : ""}` : `refused: ${it.refused}`;
  return [
    `\`${name}\``,
    ...(bit === undefined ? [] : [bit]),
    `\`${word}\``,
    here,
    there,
    [...new Set(shown.map(link))].join("<br/>"),
  ];
}

const columns = ["virsh's word", "in one process: option of `migrate`", "between hosts", "shown by"];

export const featuresPage = (): string => `# libvirt's flags and parameters, and what there is here

All of libvirt 9.0's \`VIR_MIGRATE_*\` flags and \`VIR_MIGRATE_PARAM_*\`. The embedded API moves a guest between two QEMUs of one machine; between hosts it is two \`switchoverd\`, or one and a \`libvirtd\`.

## Flags

${table(
  ["flag", "bit", ...columns],
  flagNames.map((it) => row(it, flagRows[it], migrateFlags[it])),
)}

## Typed parameters

${table(
  ["parameter", ...columns],
  parameterNames.map((it) => row(it, parameterRows[it])),
)}

## Around the guest

- **Its network.** When it begins to run at the destination, in post-copy long before it has arrived, QEMU announces it to the switches (\`announce-self\`, docs/decisions/0017).
- **Its clocks.** The hardware clock's state, with what \`-rtc base=…\` has made of it, is part of the devices' state: it goes on at the destination as it went, whatever the destination's \`-rtc\` says. The guest's own clock is behind by the pause, as after libvirt's migration; \`syncTime\` has its agent set it, as \`virsh domtime --sync\` does.
- **Its graphics.** \`graphics\` tells SPICE's clients where it goes; its QEMU is ended when they have left, after 8 s at the latest.

None of these fails a migration; the outcome's \`dropped\` tells what was not done.
`;
