// Prints docs/guarantees.md from citations: the opening comment of a file that names a guarantee describes how the file
// upholds or checks it.

import { readdirSync, readFileSync } from "node:fs";
import { type BrokenWindow, brokenWindows } from "../src/simulator/hosts/libvirtd-windows.js";
import { table } from "./table.js";

const guarantees: Record<string, string> = {
  G1: "never two running copies of one guest",
  G2: "never none for good: when faults end and the hosts reach one another again, or the fence has answered, exactly one copy runs, without an operator",
  G3: "a guest that has run at the destination is never resumed at the source; a source is ended only after the destination has taken the guest",
  G4: "no acknowledged disk write is lost: no copy runs that is incomplete, or whose guest has already run on elsewhere",
  G5: "every wait ends by an event, a deadline or a watchdog; an abort is accepted until the point of no return and rejected with a message after it",
  G6: "nothing is left behind: no process, port, socket, file, nor a journal entry without an owner",
  G7: "every failure reports its step, its side, its cause in QEMU's own words, what was undone and what to do next",
};
const names = Object.keys(guarantees);

const assumptions = [
  "Any message may be lost, delayed, repeated or reordered, and a partition may begin at any step.",
  "Either engine, either QEMU or the client may die at any step; a restarted engine finds its journal intact.",
  "A host whose state was lost or damaged quarantines the guests that it cannot attribute: no second copy of them runs, and G2 requires an operator's command there.",
  "`fsync` is reliable: a record that the journal reported as durable survives a crash. A torn last line is truncated; a damaged line is detected by its checksum, and its story is reported as unreadable, with its guest: no query is answered from it.",
  "A QEMU whose engine died is still the same process, identified by pid and start time. After a host reboots, none of its QEMUs exist any more.",
  "QEMU behaves as measured in 7.2: under `-S` it does not run a guest by itself, `completed` means that the destination holds the complete guest, and a QEMU without a guest rejects `cont`.",
  "During a migration no other client sends monitor commands to the two QEMUs that run or stop the guest. The exception is a pause by the operator, which is preserved.",
  "Under the policy `wait`, a source that cannot reach its destination stays paused until it can: G2 requires that they reach one another again. Under `fence`, the fence's answer is sufficient: etcd is assumed to be linearizable, or the embedder's proof to be true. Under `resume`, **G1 does not hold**: this is libvirt's behaviour, for users who prefer two copies to none.",
  "When a QEMU is killed while it holds the only copy of the guest, the guest is lost, and the outcome reports it.",
  "In post-copy the guest needs both QEMUs from the handover until all its memory has arrived: if either dies in between, the guest is lost, and the outcome reports it. The same holds when the connection breaks at the moment of QEMU's switch to post-copy, while the device state is in transit: QEMU can then run the guest on neither side (docs/decisions/0015).",
  "No other process writes to a destination disk while a disk mirror targets it. A mirror that QEMU reports as synchronized is identical: G4 relies on this as it relies on the storage itself.",
];

/** The answers of a host to settle, with the evidence for each: src/daemon/migrations/settling.ts and domains/recovery.ts. */
const answers = [
  ["the record of the takeover is durable, and `cont` was answered", "taken"],
  ["the refusal is durable", "refused"],
  [
    "the migration never arrived, and the journal is the one that Prepare's cookie named",
    "refused, once that is durable",
  ],
  [
    "the guest is arriving, undecided, and the query carries the pair's secret",
    "refused, once that is durable",
  ],
  [
    "the guest is arriving, and the query carries no secret or a different one",
    "whatever is already decided; the query decides nothing",
  ],
  ["the query names a different domain than the migration's", "rejected"],
  ["the story cannot be read, or is of an unknown version", "not known; the guest is quarantined"],
  [
    "the guest's record names a migration that had begun, and the story of that migration is lost",
    "not known; the guest is quarantined",
  ],
  [
    "a QEMU of the guest is alive, may have run it, and does not answer",
    "not known; the guest is quarantined until it answers or ends",
  ],
  [
    "a QEMU of the guest is alive, undecided, and does not answer",
    "refused, once it has been killed and that is durable",
  ],
  [
    "the journal is not the one that Prepare's cookie named, and a QEMU of this migration runs its guest",
    "taken, once that is durable",
  ],
  [
    "the journal is not the one that Prepare's cookie named",
    "not known; a guest that is recorded as part of that migration is quarantined",
  ],
  ["the domain is quarantined for another reason", "not known"],
  [
    "an operator has adopted the guest there (`switchover adopt`), after its arrival",
    "taken, once that is durable",
  ],
  ["an operator has released the guest there (`switchover release`)", "not known"],
];

/** Returns the opening comment of a file, as one line. */
function opening(path: string): string {
  const lines = readFileSync(path, "utf8").split("\n");
  const end = lines.findIndex((line) => !line.startsWith("//"));
  return lines
    .slice(0, end)
    .map((line) => line.slice(2).trim())
    .join(" ");
}

/** A range such as `G1 to G6` cites each guarantee in it. */
function cites(text: string, guarantee: string): boolean {
  const range = /G(\d) to G(\d)/.exec(text);
  const no = Number(guarantee.slice(1));
  if (range !== null && no >= Number(range[1]) && no <= Number(range[2])) return true;
  return new RegExp(`\\b${guarantee}\\b`).test(text);
}

interface Citing {
  readonly path: string;
  readonly text: string;
}

/** Returns the files of a folder whose opening comment names a guarantee. */
const citingIn = (folder: string): Citing[] =>
  readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => `${folder}/${file}`)
    .sort()
    .map((path) => ({ path, text: opening(path) }))
    .filter(({ text }) => names.some((guarantee) => cites(text, guarantee)));

/** @throws Error when no file cites one of the guarantees. */
function matrix(what: string, files: readonly Citing[]): string {
  for (const guarantee of names)
    if (!files.some(({ text }) => cites(text, guarantee)))
      throw new Error(`${guarantee} is not cited by any ${what}`);
  const rows = files.map(({ path, text }) => [
    `[${path}](../${path})`,
    ...names.map((guarantee) => (cites(text, guarantee) ? "●" : "")),
    text,
  ]);
  return table([what, ...names, "how"], rows);
}

/** Returns the names of the tests in one `describe` of a file. */
function testsIn(path: string, name: string): string[] {
  const text = readFileSync(path, "utf8");
  const from = text.indexOf(`describe("${name}"`);
  const to = text.indexOf("\n});", from);
  if (from === -1 || to === -1) throw new Error(`${path} has no describe "${name}"`);
  return [...text.slice(from, to).matchAll(/\n {2}test(?:\.each\([^)]*\))?\(\s*"([^"]+)"/g)].map(
    ([, title = ""]) => title.replace(" %s", ""),
  );
}

const sides = [
  {
    libvirtd: "destination",
    mode: "peer-to-peer",
    says: "From a switchoverd that coordinates by itself to a libvirtd (peer-to-peer)",
  },
  {
    libvirtd: "destination",
    mode: "managed",
    says: "From a switchoverd to a libvirtd, coordinated by libvirt's client",
  },
  {
    libvirtd: "source",
    mode: "managed",
    says: "From a libvirtd to a switchoverd, coordinated by libvirt's client or by the libvirtd itself",
  },
] as const;

const needs = ({ faults }: BrokenWindow): string =>
  faults === 0 ? "a request by the user" : faults === 1 ? "one fault" : `${faults} faults`;

const windowLists = (): string =>
  sides
    .map(({ libvirtd, mode, says }) => {
      const rows = brokenWindows
        .filter((window) => window.libvirtd === libvirtd && window.mode === mode)
        .map((window) => [window.guarantee, window.window, needs(window), window.says]);
      return `### ${says}\n\n${table(["violated", "when", "requires", "what happens"], rows)}`;
    })
    .join("\n\n");

/** @throws Error when no code upholds a guarantee or no test checks it. */
export function guaranteesPage(): string {
  const code = citingIn("src").filter(({ path }) => !path.includes("src/simulator/"));
  const weak = testsIn("test/simulator/guarantees.test.ts", "libvirt's weak places end well here");
  return `# The guarantees

They are checked in four ways by the same checkers ([src/simulator/state.ts](../src/simulator/state.ts) in the simulated world, external observation of processes and serial streams on real QEMU): an exhaustive search of the composed machines, randomized runs from seeds, a sweep of faults over the step table on real QEMU, and engines killed at every record of their journal. \`npm run mutants\` breaks the code on purpose and fails if no checker detects it.

## Assumptions

${assumptions.map((sentence) => `- ${sentence}`).join("\n")}

## The guarantees, and what upholds and checks each

${Object.entries(guarantees)
  .map(([guarantee, text]) => `- **${guarantee}**: ${text}.`)
  .join("\n")}

${matrix("upheld by", code)}

${matrix("checked by", citingIn("test"))}

## The answers of a host, and the evidence for each

A source asks its destination, by migration id, which side owns the guest ([docs/decisions/0025](decisions/0025-one-authority-for-each-guest-of-a-host.md)). No answer, "no such domain" and "not known" decide nothing: the source stays paused and asks again. When the destination answers "not known", the source quarantines its guest too, with the reason. An operator can end the quarantine on the source's host: \`switchover adopt\` resumes the copy there, \`switchover release\` or \`virsh destroy\` kills it.

${table(["the destination's evidence", "its answer"], answers)}

These rules, and the rules by which a restarted host interprets its records, are pure functions that the daemon calls ([src/protocol/host-evidence.ts](../src/protocol/host-evidence.ts)). A second exhaustive search runs them together with the domain machine of each host ([src/simulator/hosts](../src/simulator/hosts/hosts-world.ts), [docs/decisions/0026](decisions/0026-the-search-has-a-world-of-hosts.md)): daemons that restart with and without their journal, QEMUs that do not answer, full disks, requests of operators, and consecutive migrations whose messages arrive late. It checks G1, G2, G3 and G5 for two migrations and two faults on two hosts. \`npm run search -- hosts\` searches further.

## With a libvirtd on one side

A libvirtd keeps no journal of a migration, cannot be queried by migration id, kills an incoming guest when the connection that prepared it closes, and resumes or kills its own guest when its client requests it. Some windows therefore stay open. The same search with a libvirtd in place of one host finds these and no others ([src/simulator/hosts/libvirtd-world.ts](../src/simulator/hosts/libvirtd-world.ts), [test/simulator/search-libvirtd.test.ts](../test/simulator/search-libvirtd.test.ts), which holds the shortest trace of each): one migration, protocol 3, pre-copy, up to two faults. A switchoverd source that stays paused (G5) keeps asking and shows its guest as paused; an operator who has examined the libvirtd resolves it with one command: \`switchover adopt\` or \`switchover release\`. Two copies run only where the libvirtd is the source; \`switchover migrate\` coordinates such a migration without that window, because it asks the destination before it lets a libvirtd resume.

${windowLists()}

## Cases that libvirt handles badly

Each is a test of [test/simulator/guarantees.test.ts](../test/simulator/guarantees.test.ts); that an error carries the destination's own cause is shown by [test/e2e/local/migrate.test.ts](../test/e2e/local/migrate.test.ts).

${weak.map((sentence) => `- ${sentence}`).join("\n")}
`;
}
