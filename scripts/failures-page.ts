// Prints docs/failures.md: the result for the guest when each step and each effect fails, from the step table and from the
// simulated world, in which the real machines run each failure to its end.

import { describeFailure, failure } from "../src/protocol/failure.js";
import { nextStep } from "../src/protocol/migration-error.js";
import { notProved, outcomes } from "../src/protocol/outcomes.js";
import { type EffectName, effects, steps } from "../src/protocol/steps.js";
import { MigrationWorld } from "../src/simulator/migration-world.js";
import { changed, type State } from "../src/simulator/state.js";
import { StateTable } from "../src/simulator/state-table.js";
import { beginning, movesOf, World, type WorldOptions } from "../src/simulator/world.js";
import { table } from "./table.js";

const names = Object.keys(effects) as EffectName[];
const maxFaults = 4;
const fenced: WorldOptions = { policy: { whenUnreachable: "fence", patienceMs: 1 } };
const ruled: WorldOptions = {
  convergence: [
    { when: { elapsedMs: 1 }, do: { relaxDowntimeToMs: 1_000 } },
    { when: { elapsedMs: 2 }, do: "throttle" },
    { when: { elapsedMs: 3 }, do: "suspend" },
  ],
};
const needsDisks: ReadonlySet<string> = new Set(["mirror", "completeMirrors", "cancelMirrors"]);
const needsPostcopy: ReadonlySet<string> = new Set([
  "announcePostcopy",
  "startPostcopy",
  "handOver",
  "retractPostcopy",
  "pausePostcopy",
  "reconnect",
  "resumePostcopy",
  "listenAgain",
]);
const needsRule: ReadonlySet<string> = new Set(["relaxLimits", "throttle", "suspend"]);
const needsFence: ReadonlySet<string> = new Set(["claim", "disclaim", "fence"]);

/** Returns the shortest path to a state in which each effect is in progress: fewest faults first, then fewest moves. */
function waysTo(wanted: Set<string>, options: WorldOptions): Map<string, readonly number[]> {
  const moves = movesOf(options);
  const first = beginning(moves, options);
  const packed = new MigrationWorld(moves, first);
  const reached = new StateTable(packed.world.words);
  const ways = new Map<string, readonly number[]>();
  reached.add(packed.pack(first), 0);
  let level: { state: State; way: readonly number[] }[] = [{ state: first, way: [] }];
  for (let faults = 0; faults <= maxFaults && ways.size < wanted.size; faults += 1) {
    const next: typeof level = [];
    for (const { state, way } of level) {
      for (const effect of [...state.source.effects.keys(), ...(state.destination?.effects.keys() ?? [])])
        if (wanted.has(effect) && !ways.has(effect)) ways.set(effect, way);
      if (ways.size === wanted.size) break;
      for (const [pick, move] of moves.from(state).entries()) {
        const after = changed(state, move.change);
        // When a QEMU died, the guest is lost with it: such a state shows nothing about the effect.
        if (after.qemuDied && !wanted.has("concede")) continue;
        const known = reached.size;
        if (reached.add(packed.pack(after), 0) !== known) continue;
        (move.fault ? next : level).push({ state: after, way: [...way, pick] });
      }
    }
    level = next;
  }
  return ways;
}

/** Returns which side runs the guest in the end when the effect ends this way; null when it cannot end this way. */
function endOf(way: readonly number[], options: WorldOptions, effect: string, how: string): string | null {
  const world = new World(maxFaults + 1, options);
  const moves = movesOf(options);
  for (const pick of way) {
    const move = moves.from(world.state)[pick];
    if (move === undefined) throw new Error(`the path to ${effect} does not exist in the simulated world`);
    world.take(move);
  }
  const name = `${effects[effect as EffectName].side}.${effect}`;
  // A query to the other side ends as the network lets it end.
  const unanswered = how.startsWith("never") ? `${name}: no answer comes in time` : undefined;
  const move = world
    .moves()
    .find((candidate) => candidate.name === `${name} ${how}` || candidate.name === unanswered);
  if (move === undefined) return null;
  world.take(move);
  world.settleDown();
  const { qemuS, qemuD } = world.state;
  const runs = [
    ...(qemuS.alive && qemuS.cpu === "running" ? ["source"] : []),
    ...(qemuD.alive && qemuD.cpu === "running" ? ["destination"] : []),
  ];
  return runs.length === 0 ? "neither: its QEMU was killed" : `the ${runs.join(" and the ")}`;
}

export function failuresPage(): string {
  const needs = [needsFence, needsRule, needsDisks, needsPostcopy, new Set(["concede"])];
  const plain = new Set(names.filter((name) => !needs.some((need) => need.has(name))));
  const ways = [
    { options: {}, ways: waysTo(plain, {}) },
    { options: {}, ways: waysTo(new Set(["concede"]), {}) },
    { options: fenced, ways: waysTo(new Set(needsFence), fenced) },
    { options: { storage: true }, ways: waysTo(new Set(needsDisks), { storage: true }) },
    { options: { postcopy: true }, ways: waysTo(new Set(needsPostcopy), { postcopy: true }) },
    { options: ruled, ways: waysTo(new Set(needsRule), ruled) },
  ];
  const rows = names.map((name) => {
    const found = ways.find((world) => world.ways.has(name));
    const way = found?.ways.get(name);
    if (found === undefined || way === undefined) throw new Error(`no path leads to the effect ${name}`);
    const { side, undo } = effects[name];
    const ends = ["fails", "never happens, no answer", "is done, its answer lost"].map(
      (how) => endOf(way, found.options, name, how) ?? "cannot",
    );
    return [name, side, undo, ...ends];
  });
  const example = failure("refused", "perform", "destination", {
    message: "QEMU (pid 4711) ended with status 1",
    qemu: ["Unknown savevm section or instance 'ram' 0", "load of migration failed: Invalid argument"],
  });
  return `# When something fails

## The steps

${table(
  ["step", "the guest", "side that kills a copy", "side that resumes it"],
  Object.entries(steps).map(([name, { whenItFails }]) => [
    name,
    whenItFails.guest,
    whenItFails.kills,
    whenItFails.resumes,
  ]),
)}

## The effects

The side that runs the guest in the end when an effect of either side fails once, at the earliest possible moment, and everything after it succeeds. The machines themselves run each case to its end. A guest that was lost on the way is one whose QEMU had to be killed so that the effect became necessary.

${table(["effect", "side", "undo", "it fails", "it never happens, no answer", "it happens, its answer is lost"], rows)}

## Output for the operator

One line per failure: first its step and side, then QEMU's own words:

\`\`\`
${describeFailure(example)}
\`\`\`

followed by what was undone and what to do next:

${table(
  ["outcome", "exit code", "means", "next"],
  Object.entries(outcomes).map(([kind, { exitCode, says }]) => [
    kind,
    exitCode,
    says,
    kind === "arrived" ? "" : nextStep[kind as keyof typeof nextStep],
  ]),
)}

The command ends with ${notProved.exitCode} when ${notProved.says}. \`switchover replay <journal>\` prints the whole story again.
`;
}
