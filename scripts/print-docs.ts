// Generates the parts of the docs that derive from code: the tables of the protocol, the diagrams of the machines, the
// command's help, the README's example. With --check it writes nothing and fails when a page is stale.

import { readFileSync, writeFileSync } from "node:fs";
import type { AnyStateMachine, AnyStateNode } from "xstate";
import { program } from "../src/cli/program.js";
import { domain } from "../src/drivers/domain-xml/schema/domain.js";
import { rowsOf } from "../src/drivers/domain-xml/xml/doc-rows.js";
import { virshOptions } from "../src/drivers/libvirt/client/virsh-options.js";
import { coordinatorMachine } from "../src/machines/coordinator/machine.js";
import { destinationMachine } from "../src/machines/destination/machine.js";
import {
  edgesOf,
  isGroup,
  metaOf,
  namedStatesOf,
  nodesOf,
  overviewOf,
  tagsOf,
  topOf,
} from "../src/machines/shared/walk.js";
import { sourceMachine } from "../src/machines/source/machine.js";
import { phases } from "../src/protocol/job-phases.js";
import { notProved, outcomes } from "../src/protocol/outcomes.js";
import { effects, steps } from "../src/protocol/steps.js";
import { failuresPage } from "./failures-page.js";
import { featuresPage } from "./features-page.js";
import { guaranteesPage } from "./guarantees-page.js";
import { observingPage } from "./observing-page.js";
import { figures, performancePage } from "./performance-page.js";
import { table } from "./table.js";

const printed = "<!-- printed by `npm run docs`; edit the code instead -->\n";

function protocolPage(): string {
  return `${printed}
# The protocol

## Steps

${table(
  ["no.", "step", "side", "action", "the guest when it fails", "retried after (ms)"],
  Object.entries(steps).map(([name, step]) => [
    step.number,
    name,
    step.side,
    step.does,
    step.whenItFails.guest,
    step.deadlineMs,
  ]),
)}

## Effects and their undos

${table(
  ["effect", "side", "step", "action", "undo", "unknown after (ms)", "when the journal fails"],
  Object.entries(effects).map(([name, effect]) => [
    name,
    effect.side,
    effect.step,
    effect.does,
    effect.undo,
    effect.deadlineMs,
    effect.withoutJournal,
  ]),
)}

## Outcomes

${table(
  ["outcome", "side that runs the guest", "exit code", "meaning"],
  Object.entries(outcomes).map(([name, outcome]) => [name, outcome.runs, outcome.exitCode, outcome.says]),
)}

The command ends with ${notProved.exitCode} when ${notProved.says}.

## Job phases with libvirt's numbers

${table(["phase", "number"], Object.entries(phases))}
`;
}

const eventName = (event: string) =>
  event
    .replace(/^xstate\.done\.actor\.(\w+).*/, "$1 answers")
    .replace(/^xstate\.after\.(\w+)\..*/, "after $1");

const mermaid = (lines: readonly string[]): string =>
  `\`\`\`mermaid\nstateDiagram-v2\n${lines.map((line) => `  ${line}`).join("\n")}\n\`\`\``;

const arrow = (from: string, to: string, events: Iterable<string>): string =>
  `${from} --> ${to} : ${[...new Set([...events].map((event) => (event === "" ? "at once" : eventName(event))))].join("<br/>")}`;

/** Draws the top level of a machine: its groups and the states beside them. */
function overview(machine: AnyStateMachine): string {
  const tops = Object.values(machine.root.states as Record<string, AnyStateNode>);
  const [first] = machine.root.initial.target;
  const begins = first?.always?.at(-1)?.target?.[0]?.path[0] ?? first?.key ?? "";
  return mermaid([
    `[*] --> ${begins}`,
    ...overviewOf(machine).map(({ from, to, events }) => arrow(from, to, events)),
    ...tops.filter((top) => top.type === "final").map((top) => `${top.key} --> [*]`),
  ]);
}

/** Draws the states of one group and their transitions. */
function inside(machine: AnyStateMachine, group: AnyStateNode): string {
  const arrows = new Map<string, Set<string>>();
  for (const { from, event, target } of edgesOf(machine)) {
    const way = `${topOf(from)} ${topOf(target)}`;
    if (from.path[0] === group.key && topOf(from) !== topOf(target))
      arrows.set(way, (arrows.get(way) ?? new Set()).add(event));
  }
  return mermaid([...arrows].map(([way, events]) => arrow(...(way.split(" ") as [string, string]), events)));
}

function stateRows(machine: AnyStateMachine, nodes: readonly AnyStateNode[]): string {
  const isSide = machine.id !== "coordinator";
  return table(
    [
      "state",
      "meaning",
      ...(isSide ? ["the guest on this side", "a restarted engine resumes as"] : []),
      "libvirt's phase",
      "tags",
    ],
    nodes.map((node) => {
      const { guest = "", rehydratesAs = node.key, phase = "" } = metaOf(node);
      return [
        node.key,
        node.description ?? "",
        ...(isSide ? [guest, rehydratesAs] : []),
        phase,
        tagsOf(node).join(", "),
      ];
    }),
  );
}

function machinesPage(): string {
  const sections = [sourceMachine, destinationMachine, coordinatorMachine].map((machine) => {
    const groups = nodesOf(machine).filter((node) => isGroup(node) && node.parent === machine.root);
    const named = namedStatesOf(machine);
    const beside = named.filter((node) => node.path.length === 1);
    const parts = groups.map((group) => {
      const own = named.filter((node) => node.path[0] === group.key && node !== group);
      return `### ${machine.id}: ${group.key}\n\n${group.description}.\n\n${inside(machine, group)}\n\n${stateRows(machine, own)}`;
    });
    const groupRows = table(
      ["group", "meaning", "states"],
      groups.map((group) => [
        group.key,
        group.description ?? "",
        named
          .filter((node) => node.path[0] === group.key)
          .map((node) => node.key)
          .join(", "),
      ]),
    );
    return [
      `## ${machine.id}`,
      overview(machine),
      ...(groups.length === 0 ? [] : [groupRows]),
      stateRows(machine, beside),
      ...parts,
    ].join("\n\n");
  });
  return `${printed}\n# The machines\n\nThe diagrams omit the transitions of a restarted engine: it resumes in the recorded state, or in the state that the table names.\n\n${sections.join("\n\n")}\n`;
}

function cliPage(): string {
  const switchover = program();
  switchover.configureHelp({ helpWidth: 100 });
  const pages = [switchover, ...switchover.commands].map((command) => {
    command.configureHelp({ helpWidth: 100 });
    let text = "";
    command.configureOutput({ writeOut: (part) => (text += part), getOutHelpWidth: () => 100 });
    command.outputHelp();
    return `\`\`\`\n${text.trim()}\n\`\`\``;
  });
  return `${printed}\n# The command\n\n${pages.join("\n\n")}\n`;
}

function domainPage(): string {
  const plain = (text: string) => text.replaceAll("<", "&lt;");
  const rows = rowsOf(domain, "domain").map((row) => [
    `\`${row.path}\``,
    ...[row.values, row.needed, row.bothSides, row.does].map(plain),
  ]);
  return `${printed}
# Supported libvirt domain XML

Anything that is not in this table is kept in the definition, but is rejected with its position in the text when the guest is started or migrated.

${table(["where", "values", "required", "both sides of a migration", "maps to"], rows)}
`;
}

function virshPage(): string {
  const rows = Object.values(virshOptions).map((virshOption) => [
    `\`${virshOption.option}\`${virshOption.since === undefined ? "" : ` (since libvirt ${virshOption.since})`}`,
    "flag" in virshOption
      ? `flag ${virshOption.flag}`
      : "parameter" in virshOption
        ? `parameter \`${virshOption.parameter}\``
        : `virsh ${virshOption.virsh}`,
    virshOption.refused === undefined ? "yes" : `no: ${virshOption.refused}`,
    virshOption.note ?? "",
  ]);
  return `${printed}
# Supported options of \`virsh migrate\`

Begin rejects an unsupported option with the note below, before anything is changed; it also rejects any flag or parameter that is not in this table.

${table(["option", "maps to", "supported", "note"], rows)}
`;
}

function readme(): string {
  const text = readFileSync("README.md", "utf8");
  const example = readFileSync("examples/embed.ts", "utf8").trim();
  const withFigures = text.replace(
    /(<!-- figures -->\n)[\s\S]*?(<!-- \/figures -->)/,
    (_, before: string, after: string) => `${before}${figures()}\n${after}`,
  );
  return withFigures.replace(
    /(<!-- examples\/embed\.ts -->\n```ts\n)[\s\S]*?```/,
    (_, before: string) => `${before}${example}\n\`\`\``,
  );
}

const observing = await observingPage();
const pages: Record<string, () => string> = {
  "docs/observing.md": () => `${printed}\n${observing}\n`,
  "docs/protocol.md": protocolPage,
  "docs/machines.md": machinesPage,
  "docs/guarantees.md": () => `${printed}\n${guaranteesPage()}`,
  "docs/failures.md": () => `${printed}\n${failuresPage()}`,
  "docs/cli.md": cliPage,
  "docs/domain.md": domainPage,
  "docs/virsh.md": virshPage,
  "docs/features.md": () => `${printed}\n${featuresPage()}`,
  "docs/performance.md": () => performancePage(readFileSync("docs/performance.md", "utf8")),
  "README.md": readme,
};
const check = process.argv.includes("--check");
const read = (path: string) => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
};
const stale = Object.entries(pages).filter(([path, print]) => read(path) !== print());
if (!check) for (const [path, print] of stale) writeFileSync(path, print());
for (const [path] of stale) console.error(check ? `${path} is stale: run npm run docs` : `${path} written`);
process.exitCode = check && stale.length > 0 ? 1 : 0;
