// Breaks the machines on purpose, one breakage at a time, and fails when the tests of the machines and of the simulated
// world let one live. `npm run mutants`.

import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const moving = "src/machines/source-moving.ts";
const lettingGo = "src/machines/source-letting-go.ts";
const receiving = "src/machines/destination-receiving.ts";
const deciding = "src/machines/destination-deciding.ts";
const coordinator = "src/machines/coordinator.ts";

/** Name, file, text, and what stands there instead (the first place after `after`, when given). */
const mutants = [
  [
    "the source resumes when Finish's reply is lost, as libvirt does",
    lettingGo,
    '"coordinator.confirmCancelledAsked": "settling",',
    '"coordinator.confirmCancelledAsked": "restoring",',
  ],
  [
    "the source resumes when Confirm does not come",
    lettingGo,
    'after: { confirm: "settling" },',
    'after: { confirm: "restoring" },',
  ],
  [
    "the source is killed when Confirm does not come",
    lettingGo,
    'after: { confirm: "settling" },',
    'after: { confirm: "killing" },',
  ],
  [
    "the source resumes on an unknown answer to settle",
    lettingGo,
    '{ target: "waiting" },',
    '{ target: "#source.restoring" },',
    "settling =",
  ],
  [
    "the source is killed on a refusal",
    lettingGo,
    'target: "#source.restoring", actions: refusedThere',
    'target: "#source.killing", actions: refusedThere',
  ],
  [
    "the source kills its copy as soon as it has handed over",
    moving,
    '"monitor.completed": "handedOver",',
    '"monitor.completed": "killing",',
  ],
  [
    "a failed migration leaves the source's guest as it is",
    moving,
    '"monitor.failed": { target: "restoring", actions: "noteFailed" },',
    '"monitor.failed": { target: "stayed", actions: "noteFailed" },',
  ],
  [
    "the destination takes the guest as soon as it is whole",
    receiving,
    '"monitor.completed": "received",',
    '"monitor.completed": deciding,',
    "receiving =",
  ],
  [
    "the destination takes the guest back after it has refused it",
    deciding,
    '"process.exited": { target: "refused"',
    '"coordinator.finishAsked": "taking", "process.exited": { target: "refused"',
    "refusing =",
  ],
  [
    "the destination says `taken` before it is certain",
    deciding,
    'tags: ["prepared"],',
    'tags: ["prepared", "taken"],',
    "taking =",
  ],
  [
    "the destination refuses when `cont` has no answer",
    deciding,
    '{ guard: isFailed, target: "refusing"',
    '{ guard: ({ event }) => !isDone({ event }), target: "refusing"',
    "taking =",
  ],
  [
    "the destination takes a stream that has not ended when the source's QEMU died",
    receiving,
    '"source.yielded": "completing",',
    '"source.yielded": deciding,',
    "receiving =",
  ],
  [
    "a source whose QEMU died in the switchover gives its guest up",
    lettingGo,
    '"process.exited": { target: "yielding", actions: "noteDied" },',
    '"process.exited": { target: "lost", actions: "noteDied" },',
  ],
  [
    "the coordinator confirms a Finish that it has not heard",
    coordinator,
    'target: "#coordinator.confirmingCancelled",',
    'target: "#coordinator.confirming",',
    "    finishing: {",
  ],
  [
    "the coordinator asks Finish after a failed Perform",
    coordinator,
    'target: "finishingCancelled",',
    'target: "finishing",',
    "    performing: {",
  ],
];

const only = process.argv[2];
const survivors = [];
for (const [name, file, text, instead, after = ""] of mutants) {
  if (only !== undefined && !name.includes(only)) continue;
  const whole = readFileSync(file, "utf8");
  const from = whole.indexOf(after);
  const place = whole.indexOf(text, from);
  if (from < 0 || place < 0)
    throw new Error(`the mutant "${name}" finds no place in ${file}: bring its text up to date`);
  writeFileSync(file, whole.slice(0, place) + instead + whole.slice(place + text.length));
  let status;
  try {
    ({ status } = spawnSync("npx", ["vitest", "run", "--bail", "1", "test/machines", "test/world"], {
      stdio: "ignore",
    }));
  } finally {
    writeFileSync(file, whole);
  }
  console.log(`${status === 0 ? "SURVIVED" : "caught  "}  ${name}`);
  if (status === 0) survivors.push(name);
}
console.log(`${mutants.length - survivors.length} of ${mutants.length} breakages caught`);
process.exit(survivors.length === 0 ? 0 : 1);
