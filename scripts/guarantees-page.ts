// docs/guarantees.md, from the citations: a file's opening comment that names a guarantee says how it upholds or checks it.

import { readdirSync, readFileSync } from "node:fs";
import { type BrokenWindow, brokenWindows } from "../src/simulator/hosts/libvirtd-windows.js";
import { table } from "./table.js";

const guarantees: Record<string, string> = {
  G1: "never two running copies of one guest",
  G2: "never none for good: when faults end and the hosts reach one another again, or the fence has spoken, exactly one copy runs, without a person",
  G3: "a guest that has run at the destination is never resumed at the source; a source is ended only after the destination has taken the guest",
  G4: "no acknowledged disk write is lost: no copy is run that is not whole, or that another has gone on without",
  G5: "every wait ends: by an event, a deadline or a watchdog; an abort is obeyed until the point of no return and refused aloud after it",
  G6: "nothing is left behind: no process, port, socket, file, nor a journal entry without an owner",
  G7: "every failure tells its step, side, cause in QEMU's own words, what was undone and what to do next",
};

const assumptions = [
  "Any message may be lost, delayed, repeated or reordered, and a partition may begin at any step.",
  "Either engine, either QEMU or the client may die at any step; an engine that is restarted finds its journal as it was.",
  "A host whose state was lost or damaged quarantines the guests that it cannot attribute: no second copy of them runs, and G2 needs an operator's command there.",
  "`fsync` tells the truth: a record that the journal has called durable is there after the crash. A last line that was not written whole is cut off; a damaged line is found by its checksum, and its story is reported as unreadable, with its guest: no question is answered from it.",
  "A QEMU whose engine died is still the same process, found by pid and start time. A host that restarts has none of its QEMUs any more.",
  "QEMU behaves as measured in 7.2: it does not run a guest by itself under `-S`, `completed` means that the destination holds the guest whole, and `cont` is refused in a QEMU without a guest.",
  "Nobody else gives commands to the two QEMUs' monitors that run or stop the guest meanwhile, but a person's pause, which is kept.",
  "Under the policy `wait`, a source that cannot reach its destination stays paused for as long: G2 needs them to reach one another. Under `fence`, the fence's word is enough: etcd keeps its promises, or the embedder's proof is true. Under `resume`, **G1 does not hold**: it is libvirt's behaviour, for those who prefer two copies to none.",
  "When a QEMU is killed while it alone has the guest, the guest is lost: the outcome says so.",
  "In post-copy the guest needs both QEMUs from the hand-over until its memory is there: when either dies then, it is lost, and the outcome says so. The same when the connection breaks in the moment in which QEMU goes over, with the devices' state under way: QEMU can run the guest on neither side then (docs/decisions/0015).",
  "A destination's disk that is copied into is written to by nobody else meanwhile. A copy that its QEMU has said to be equal is: G4 rests on it as on the storage itself.",
];

/** A host's answers to settle with the evidence for each: src/daemon/migrations/settling.ts and domains/recovery.ts. */
const answers = [
  ["the record of taking is durable, and `cont` was answered", "taken"],
  ["the refusal is durable", "refused"],
  [
    "the migration never came, and the journal is the one that Prepare's cookie named",
    "refused, once that is durable",
  ],
  [
    "the guest is arriving, undecided, and the question carries the pair's secret",
    "refused, once that is durable",
  ],
  [
    "the guest is arriving, and the question carries no secret or another one",
    "what is decided already; nothing is decided by it",
  ],
  ["the question names another domain than the migration is of", "rejected"],
  ["the story cannot be read, or is of an unknown version", "not known; the guest is quarantined"],
  [
    "the guest's record names a migration that had begun, and its story is lost",
    "not known; the guest is quarantined",
  ],
  [
    "a QEMU of the guest lives, may have run it, and does not answer",
    "not known; the guest is quarantined until it answers or ends",
  ],
  [
    "a QEMU of the guest lives, is undecided, and does not answer",
    "refused, after it is ended and that is durable",
  ],
  [
    "the journal is another one than Prepare's cookie named, and a QEMU of this migration runs its guest",
    "taken, once that is durable",
  ],
  [
    "the journal is another one than Prepare's cookie named",
    "not known; a guest that is recorded as part of that migration is quarantined",
  ],
  ["the domain is quarantined for another reason", "not known"],
  [
    "an operator has adopted the guest there (`switchover adopt`), past its arrival",
    "taken, once that is durable",
  ],
  ["an operator has released the guest there (`switchover release`)", "not known"],
];

/** The comment that a file begins with, as one line. */
function opening(path: string): string {
  const lines = readFileSync(path, "utf8").split("\n");
  const end = lines.findIndex((line) => !line.startsWith("//"));
  return lines
    .slice(0, end)
    .map((line) => line.slice(2).trim())
    .join(" ");
}

/** `G1 to G6` names them all. */
function cites(text: string, guarantee: string): boolean {
  const range = /G(\d) to G(\d)/.exec(text);
  const no = Number(guarantee.slice(1));
  if (range !== null && no >= Number(range[1]) && no <= Number(range[2])) return true;
  return new RegExp(`\\b${guarantee}\\b`).test(text);
}

function citations(folder: string, guarantee: string): string[][] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => `${folder}/${file}`)
    .sort()
    .map((path) => ({ path, text: opening(path) }))
    .filter(({ text }) => cites(text, guarantee))
    .map(({ path, text }) => [`[${path}](../${path})`, text]);
}

/** The names of the tests in one `describe` of a file. */
function testsIn(path: string, name: string): string[] {
  const text = readFileSync(path, "utf8");
  const from = text.indexOf(`describe("${name}"`);
  const to = text.indexOf("\n});", from);
  if (from === -1 || to === -1) throw new Error(`${path} has no describe "${name}"`);
  return [...text.slice(from, to).matchAll(/\n {2}test(?:\.each\([^)]*\))?\(\s*"([^"]+)"/g)].map(
    ([, it = ""]) => it.replace(" %s", ""),
  );
}

const sides = [
  {
    libvirtd: "destination",
    mode: "peer-to-peer",
    says: "From a switchoverd that leads by itself to a libvirtd (peer-to-peer)",
  },
  {
    libvirtd: "destination",
    mode: "managed",
    says: "From a switchoverd to a libvirtd, led by libvirt's client",
  },
  {
    libvirtd: "source",
    mode: "managed",
    says: "From a libvirtd to a switchoverd, led by libvirt's client or by the libvirtd itself",
  },
] as const;

const needs = ({ faults }: BrokenWindow): string =>
  faults === 0 ? "a request of its user" : faults === 1 ? "one fault" : `${faults} faults`;

const windowLists = (): string =>
  sides
    .map(({ libvirtd, mode, says }) => {
      const rows = brokenWindows
        .filter((window) => window.libvirtd === libvirtd && window.mode === mode)
        .map((window) => [window.guarantee, window.window, needs(window), window.says]);
      return `### ${says}\n\n${table(["not held", "when", "it takes", "what happens"], rows)}`;
    })
    .join("\n\n");

/** @throws Error when a guarantee is upheld or checked nowhere. */
export function guaranteesPage(): string {
  const sections = Object.entries(guarantees).map(([guarantee, text]) => {
    const code = citations("src", guarantee).filter(([path]) => !path?.includes("src/simulator/"));
    const checks = citations("test", guarantee);
    if (code.length === 0 || checks.length === 0)
      throw new Error(`${guarantee} is cited by no code or by no test`);
    return `## ${guarantee}: ${text}\n\n${table(["upheld by", "how"], code)}\n\n${table(["checked by", "how"], checks)}`;
  });
  const weak = testsIn("test/simulator/guarantees.test.ts", "libvirt's weak places end well here");
  return `# The guarantees

They are checked four ways by the same checkers ([src/simulator/state.ts](../src/simulator/state.ts) in the simulated world, an outsider's look at processes and serial streams on real QEMU): an exhaustive search of the composed machines, seeded plays, a sweep of faults over the step table on real QEMU, and engines killed at every record of their journal. \`npm run mutants\` breaks the code on purpose and fails if no checker notices.

## They hold under

${assumptions.map((sentence) => `- ${sentence}`).join("\n")}

${sections.join("\n\n")}

## What a host answers, and from which evidence

A source asks its destination by the migration's id who has the guest ([docs/decisions/0025](decisions/0025-one-authority-for-each-guest-of-a-host.md)). Silence, "no such domain" and "not known" decide nothing: the source stays paused and asks again. When the destination answers "not known", the source quarantines its guest too, with the reason. An operator can end that on the source's host: \`switchover adopt\` resumes the copy there, \`switchover release\` or \`virsh destroy\` ends it.

${table(["the destination's evidence", "its answer"], answers)}

These rules, and those by which a restarted host treats its records, are pure functions that the daemon calls ([src/protocol/host-evidence.ts](../src/protocol/host-evidence.ts)). A second exhaustive search runs them with the domain machine of each host ([src/simulator/hosts](../src/simulator/hosts/hosts-world.ts), [docs/decisions/0026](decisions/0026-the-search-has-a-world-of-hosts.md)): daemons that restart with and without their memory, QEMUs that do not answer, full disks, requests of operators, and migrations in a row whose messages arrive late. It checks G1, G2, G3 and G5 for two migrations and two faults on two hosts. \`npm run search -- hosts\` searches more.

## With a libvirtd on one side

A libvirtd keeps no journal of a migration, answers no question by the migration's id, ends an incoming guest with the connection that prepared it, and resumes or ends its own guest at its client's word. So some windows stay open. The same search with a libvirtd in the place of one host finds these and no others ([src/simulator/hosts/libvirtd-world.ts](../src/simulator/hosts/libvirtd-world.ts), [test/simulator/search-libvirtd.test.ts](../test/simulator/search-libvirtd.test.ts), which holds the shortest trace of each): one migration, protocol 3, pre-copy, up to two faults. A source of ours that stays paused (G5) asks on, shows its guest as paused, and an operator who has looked at the libvirtd ends that with one command: \`switchover adopt\` or \`switchover release\`. Two copies run only where the libvirtd is the source; \`switchover migrate\` leads such a migration without that window, because it asks the destination before it lets a libvirtd resume.

${windowLists()}

## Where libvirt ends badly

Each is a test of [test/simulator/guarantees.test.ts](../test/simulator/guarantees.test.ts); that an error carries the destination's own cause is one of [test/e2e/local/migrate.test.ts](../test/e2e/local/migrate.test.ts).

${weak.map((sentence) => `- ${sentence}`).join("\n")}
`;
}
