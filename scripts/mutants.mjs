// Mutation tests: breaks machines, effects, drivers and journal on purpose, one mutant at a time, and fails when one survives.
// `npm run mutants -- [part of a name, of a file or of a test's file]...`. The mutants of the daemon are in mutants/daemon.mjs.

import { daemonMutants } from "./mutants/daemon.mjs";
import { runMutants } from "./mutants/run.mjs";

const transfer = "src/machines/source/transfer.ts";
const handover = "src/machines/source/handover.ts";
const postcopy = "src/machines/source/postcopy.ts";
const rollback = "src/machines/source/rollback.ts";
const incoming = "src/machines/destination/incoming.ts";
const destinationPostcopy = "src/machines/destination/postcopy.ts";
const takeover = "src/machines/destination/takeover.ts";
const refusal = "src/machines/destination/refusal.ts";
const destinationSetup = "src/machines/destination/setup.ts";
const coordinator = "src/machines/coordinator/machine.ts";

const world = ["test/unit/machines", "test/simulator/guarantees.test.ts", "test/simulator"];
const features = ["test/unit/machines", "test/simulator/search-features.test.ts"];

/**
 * Each row: name, file, text to find, its replacement, optionally the text that precedes it or the declaration (`name =`) that
 * contains it, and optionally the tests to run, the fastest first.
 */
const mutants = [
  [
    "the source resumes when Finish's reply is lost, as libvirt does",
    handover,
    'on: { "coordinator.confirmCancelledRequested": "settling" },',
    'on: { "coordinator.confirmCancelledRequested": "#source.rollback.restoring" },',
  ],
  [
    "the source resumes when Confirm does not come",
    handover,
    'after: { confirm: "settling" },',
    'after: { confirm: "#source.rollback.restoring" },',
  ],
  [
    "the source is killed when Confirm does not come",
    handover,
    'after: { confirm: "settling" },',
    'after: { confirm: "killing" },',
  ],
  [
    "the source resumes when the answer to settle is unknown",
    handover,
    '{ guard: answers("refused"), target',
    '{ guard: ({ event }) => event.output.value !== "taken", target',
    "askWhoRuns =",
  ],
  [
    "the source is killed on a refusal",
    handover,
    'target: "#source.rollback.restoring", actions: refused ',
    'target: "#source.handover.killing", actions: refused ',
  ],
  [
    "the source kills its copy as soon as it has handed over",
    transfer,
    '"monitor.completed": "handover",',
    '"monitor.completed": "#source.handover.killing",',
  ],
  [
    "a failed migration leaves the source's guest as it is",
    transfer,
    '"monitor.failed": { target: "#source.rollback.restoring", actions: "noteFailed" },',
    '"monitor.failed": { target: "stayed", actions: "noteFailed" },',
  ],
  [
    "the end of an earlier migration is mistaken for the end of this one",
    "src/protocol/messages.ts",
    'mark !== null && mark === earlier ? "none" : ended;',
    "mark === earlier ? ended : ended;",
  ],
  [
    "the destination takes the guest as soon as it is complete",
    incoming,
    '"monitor.completed": "received",',
    '"monitor.completed": deciding(),',
    "streaming =",
  ],
  [
    "the destination takes the guest after it has refused it",
    refusal,
    '"process.exited": { target: "refused"',
    '"coordinator.finishRequested": "#destination.takeover.taking", "process.exited": { target: "refused"',
    "refusal =",
  ],
  [
    "the destination reports `taken` before it is certain",
    takeover,
    'tags: ["decided"],',
    'tags: ["decided", "taken"],',
    "taking =",
  ],
  [
    "the destination refuses when `cont` has no answer",
    takeover,
    '{ guard: isFailed, target: "#destination.refusal"',
    '{ guard: ({ event }) => !isDone({ event }), target: "#destination.refusal"',
    "taking =",
  ],
  [
    "the destination takes a stream that has not ended when the source's QEMU died",
    incoming,
    '"source.conceded": "completing",',
    '"source.conceded": deciding(),',
    "streaming =",
  ],
  [
    "a source whose QEMU died during the switchover gives its guest up",
    handover,
    '"process.exited": { target: ".conceding", actions: "noteDied" },',
    '"process.exited": { target: "lost", actions: "noteDied" },',
  ],
  [
    "the coordinator confirms a Finish whose reply it has not received",
    coordinator,
    'otherwise: "#coordinator.confirmingCancelled",',
    'otherwise: "#coordinator.confirming",',
    "    finishing: {",
  ],
  [
    "the coordinator asks Finish after a failed Perform",
    coordinator,
    'target: "finishingCancelled",',
    'target: "finishing",',
    "    performing: {",
  ],
  [
    "a restarted source resumes the guest that it had handed over",
    handover,
    'meta: { libvirt: "migration" },',
    'meta: { libvirt: "migration", rehydratesAs: "restoring" },',
    "handedOver =",
  ],
  [
    "a restarted source resumes the guest that it was settling",
    handover,
    'tags: ["performed"],',
    'meta: { rehydratesAs: "restoring" }, tags: ["performed"],',
    "settling =",
  ],
  [
    "a restarted destination refuses the guest that it was taking",
    takeover,
    'meta: { rehydratesAs: "resuming" },',
    'meta: { rehydratesAs: "refusing" },',
    "taking =",
  ],
  [
    "a restarted destination forgets a refusal",
    refusal,
    "description:",
    'meta: { rehydratesAs: "probing" }, description:',
    "refusing =",
  ],
  [
    "a restarted source whose QEMU has died concedes a guest that may have run on",
    transfer,
    '"process.exited": { target: "#source.rollback.reportingLoss", actions: "noteDied" },',
    '"process.exited": { target: "#source.handover.conceding", actions: "noteDied" },',
    "probing =",
    ["test/unit/machines/machines.test.ts"],
  ],
  [
    "a destination runs a guest that it has not claimed at the fence",
    destinationSetup,
    '{ guard: "mustClaim", target: "#destination.takeover.claiming", ...(actions && { actions }) },',
    "",
  ],
  [
    "a destination keeps its claim on a guest that it could not run",
    takeover,
    "isFailed({ event }) && context.guest.fencingToken !== null",
    "isFailed({ event }) && context.guest.fencingToken === undefined",
  ],
  [
    "a source resumes when the fence has not answered",
    handover,
    '{ target: "#source.handover.settling", reenter: true }',
    '{ target: "#source.rollback.restoring", actions: fencedOff }',
  ],
  [
    "a refusal is reported before it is durable and before the copy is gone",
    refusal,
    'meta: { rehydratesAs: "refusing" },',
    'meta: { rehydratesAs: "refusing" }, tags: ["refused"],',
    "killingUnrecorded =",
    ["test/unit/machines"],
  ],
  [
    "an effect starts before its record is durable",
    "src/effects/bind.ts",
    "await recorder.durable();",
    "void recorder.durable();",
    "",
    ["test/unit/effects"],
  ],
  [
    "a guest is run although its decision could not be recorded",
    "src/protocol/steps.ts",
    'withoutJournal: "refused",',
    'withoutJournal: "goes on",',
    "  take: {",
    ["test/unit/effects"],
  ],
  [
    "an abort is reported as accepted before that is durable",
    "src/effects/in-process-peers.ts",
    "await unlessBroken(durable());",
    "",
    "",
    ["test/unit/effects"],
  ],
  [
    "the destination's QEMU is started running",
    "src/drivers/qemu/guest/destination-guest.ts",
    '"-S", ',
    "",
    "",
    ["test/e2e/local/migrate.test.ts"],
  ],
  [
    "another process with the guest's old pid is mistaken for it",
    "src/drivers/platform/procfs.ts",
    "identify(pid)?.startTicks === startTicks",
    "identify(pid) !== undefined && startTicks > 0",
    "",
    ["test/unit/drivers/qemu/process.test.ts"],
  ],
  [
    "a journal's damaged line is read as if it were whole",
    "src/drivers/platform/checked-lines.ts",
    "line.slice(0, 8) === checksum(text)",
    "line.slice(0, 8).length === 8",
    "",
    ["test/unit/drivers/journal"],
  ],
  [
    "a story's damaged last line is cut off as if it had been torn",
    "src/drivers/journal/story.ts",
    "if (entryOf(rest.slice(0, -1)) !== undefined) throw damaged(path, lines.length + 1);",
    "",
    "",
    ["test/unit/drivers/journal/unreadable.test.ts"],
  ],
  [
    "a story that cannot be read counts as absent",
    "src/drivers/journal/journal-directory.ts",
    "if (unreadable !== undefined) throw unreadable;\n    return this.#current",
    "return this.#current",
    "",
    ["test/unit/drivers/journal/unreadable.test.ts"],
  ],
  [
    "a directory of a newer format is opened",
    "src/drivers/journal/identity.ts",
    "if (Number(text) > directoryVersion)",
    "if (Number(text) > 1_000)",
    "",
    ["test/unit/drivers/journal/identity.test.ts"],
  ],
  [
    "a journal has another identity at each start",
    "src/drivers/journal/identity.ts",
    "if (text === null) {",
    'if (text !== "") {',
    "",
    ["test/unit/drivers/journal/identity.test.ts"],
  ],
  [
    "a journal directory is not locked",
    "src/drivers/platform/file-lock.ts",
    'else if (code === isHeldCode && stderr === "") resolve(false);',
    "else if (code === isHeldCode) resolve(true);",
    "",
    ["test/unit/drivers/journal/lock.test.ts"],
  ],
  [
    "records queued behind a failed write count as written",
    "src/drivers/journal/line-file.ts",
    "[...now, ...behind]",
    "now",
    "",
    ["test/unit/drivers/journal/failing-disk.test.ts"],
  ],
  [
    "the remains of a failed write stay in the file",
    "src/drivers/journal/line-file.ts",
    "if (this.#isDirty) await this.#takeBack();",
    "",
    "",
    ["test/unit/drivers/journal/failing-disk.test.ts"],
  ],
  [
    "a destination that is stuck after it took the guest has not taken it",
    "src/drivers/journal/summary.ts",
    '(side === "destination" ? decisionIn(record.state) : null) ?? known.decision',
    'side === "destination" ? decisionIn(record.state) : known.decision',
    "",
    ["test/unit/drivers/journal/keeping.test.ts"],
  ],
  [
    "a story that continues after its end is not read at a start",
    "src/drivers/journal/journal-directory.ts",
    "if (kept?.hasEnded)",
    "if (kept === undefined && kept)",
    "",
    ["test/unit/drivers/journal/keeping.test.ts"],
  ],
  [
    "a record is reported as durable when it is only written",
    "src/drivers/journal/line-file.ts",
    "await this.#file.appendFile(bytes);\n      await this.#file.datasync();",
    "await this.#file.appendFile(bytes);",
    "",
    ["test/unit/drivers/journal"],
  ],
  [
    "the decision `taken` is forgotten with its story",
    "src/drivers/journal/decisions.ts",
    "await this.#file.append(lineOf(kept));",
    'if (kept.decision === "refused") await this.#file.append(lineOf(kept));',
    "",
    ["test/unit/drivers/journal"],
  ],
  [
    "a restarted daemon does not know what it has taken",
    "src/protocol/host-evidence.ts",
    "if (host.decided !== null && !host.isComing) return host.decided;",
    'if (host.decided === "refused") return host.decided;',
    "",
    ["test/e2e/hosts/restarted-host.test.ts"],
  ],
  [
    "two concurrent Prepares of one guest are both accepted",
    "src/machines/domain/machine.ts",
    '...whileJob("migration in"),',
    '...whileJob("migration in"), "peer.prepareRequested": { actions: "reserve" },',
    "",
    ["test/unit/machines/domain.test.ts"],
  ],
  [
    "a libvirtd may resume before its destination has answered, as in libvirt",
    "src/library/remote/managed.ts",
    "!cancelled || !mayRunThere ||",
    "!cancelled || mayRunThere ||",
    "",
    ["test/e2e/hosts/libvirtd.test.ts"],
  ],
  [
    "the offer stays at the fence when the guest stays",
    "src/effects/actors.ts",
    'output?.outcome === "stayed"',
    'output?.outcome === "stuck"',
    "",
    ["test/unit/drivers/fencing"],
  ],
  [
    "disks: QEMU continues before the mirrors are completed",
    transfer,
    '{ guard: "copiesDisks", target: ".stopped.completingMirrors" },',
    "",
    "",
    features,
  ],
  [
    "disks: mirrors that could not be completed count as synchronized",
    transfer,
    '{ target: cancelling, actions: recordEffectFailure("completeMirrors") },',
    '{ target: "switchingOver" },',
    "",
    features,
  ],
  [
    "disks: the mirrors keep running when the guest stays",
    rollback,
    'target: "#source.rollback.cancellingMirrors",',
    'target: "#source.stayed",',
    "",
    features,
  ],
  [
    "post-copy: a destination that was announced it gives up on the coordinator's request",
    destinationPostcopy,
    '"coordinator.finishCancelledRequested": ignoring(',
    '"coordinator.finishCancelledRequested": ((_) => "refusal")(',
    "",
    features,
  ],
  [
    "post-copy: the destination takes the guest before it is handed over",
    destinationPostcopy,
    '"monitor.postcopy": { target: "postcopyReady", actions: keepPartly },',
    '"monitor.postcopy": { target: "#destination.takeover.taking", actions: keepPartly },',
    "receivingPostcopy =",
    features,
  ],
  [
    "post-copy: a guest that could not be run at once is given up",
    takeover,
    'target: "resuming",',
    'target: "#destination.refusal",',
    '"inPostcopy", not("isDying")]),',
    features,
  ],
  [
    "post-copy: the source resumes its guest without asking the destination",
    postcopy,
    '"monitor.failed": { target: "#source.handover.settlingFailedPostcopy", actions: "noteFailed" },',
    '"monitor.failed": { target: "#source.rollback.restoring", actions: "noteFailed" },',
    "",
    features,
  ],
  [
    "post-copy: a source that was aborted leaves the destination waiting",
    rollback,
    '{ guard: isDone, target: "#source.rollback.retractingPostcopy", actions: restored },',
    '{ guard: isDone, target: "#source.stayed", actions: restored },',
    "",
    features,
  ],
  [
    "post-copy: a destination whose source is dead waits forever for its memory",
    takeover,
    '{ guard: "isConnected", target: "orphaned" },',
    '{ actions: "keepPartly" },',
    "",
    features,
  ],
  [
    "post-copy: the source ends its copy when the destination has not all of its memory",
    postcopy,
    '{ guard: answers("taken"), target: "#source.postcopy.serving" },',
    '{ guard: answers("taken"), target: "#source.handover.killing" },',
    "",
    features,
  ],
  [
    "post-copy: the source gives the guest up when only a new connection failed",
    postcopy,
    '{ guard: ({ event }) => !answers("held")({ event }), target: "waiting" },',
    "",
    "",
    features,
  ],
  [
    "post-copy: a source whose QEMU holds a lost connection retries forever",
    postcopy,
    '{ guard: "outOfAttempts", target: "#source.postcopy.stranded", actions: heldHere },',
    "",
    "",
    features,
  ],
];

const named = mutants.map(([name, file, find, instead, where = "", tests = world]) => {
  const declared = /^(\w+) =$/.exec(where)?.[1];
  return declared === undefined
    ? { name, file, find, instead, after: where, tests }
    : { name, file, find, instead, within: [declared], tests };
});
process.exit(runMutants([...named, ...daemonMutants], process.argv.slice(2)));
