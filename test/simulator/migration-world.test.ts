// Compares the packed world that is searched with the object world that is played: the same moves lead to the same states; and
// the reduced search with the unreduced one: the same verdicts.

import { describe, expect, test } from "vitest";
import { destinationMachine } from "../../src/machines/destination/machine.js";
import { explore } from "../../src/simulator/explore.js";
import { Species } from "../../src/simulator/machine-model.js";
import { MigrationWorld } from "../../src/simulator/migration-world.js";
import { Successors } from "../../src/simulator/search-world.js";
import { changed, type State } from "../../src/simulator/state.js";
import { Moves } from "../../src/simulator/transitions.js";
import { beginning, movesOf, type WorldOptions } from "../../src/simulator/world.js";

const fenced: WorldOptions = { policy: { whenUnreachable: "fence", patienceMs: 1 } };
const worlds: [string, WorldOptions][] = [
  ["managed", {}],
  ["peer-to-peer", { peerToPeer: true }],
  ["fenced", fenced],
  ["with copied disks and post-copy", { storage: true, postcopy: true }],
  [
    "peer-to-peer with a policy",
    { peerToPeer: true, convergence: [{ when: { elapsedMs: 1 }, do: "suspend" }] },
  ],
];

const told = (name: string, harm: string | undefined, to: Int32Array) => `${name} ${harm ?? ""}: ${to}`;

/** A deterministic generator of pseudo-random numbers. */
function* numbers(seed: number): Generator<number, never> {
  for (let state = seed; ; yield state >>> 8) state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
}

describe.each([true, false])("when states with the same future are merged: %s", (reduced) => {
  test.each(worlds)(
    "%s, the packed world has the moves of the played one, and they lead to the same states",
    (_, options) => {
      const moves = movesOf(options);
      const first = beginning(moves, options);
      const packed = new MigrationWorld(moves, first, { reduced });
      const random = numbers(7);
      for (let walk = 0; walk < 4; walk += 1) {
        let state = first;
        for (let length = 0; length < 60; length += 1) {
          const all = moves.from(state);
          if (all.length === 0) break;
          expectSameMoves(packed, moves, state);
          // Also compared after each fault: a random walk rarely takes one at the moment that matters.
          for (const { fault, change } of all)
            if (fault) expectSameMoves(packed, moves, changed(state, change));
          const calm = all.filter((move) => !move.fault && move.rare === undefined);
          const among = random.next().value % 8 === 0 || calm.length === 0 ? all : calm;
          const move = among[random.next().value % among.length];
          if (move !== undefined) state = changed(state, move.change);
        }
      }
    },
  );
});

function expectSameMoves(packed: MigrationWorld, moves: Moves, state: State): void {
  const { words } = packed.world;
  const successors = new Successors(words);
  const from = packed.pack(state);
  for (const faults of [false, true]) packed.world.successors(from, 0, faults, successors);
  const seen = Array.from({ length: successors.count }, (_none, i) => {
    const { name, harm } = packed.world.describe(successors.moves[i] ?? 0);
    return told(name, harm, successors.states.slice(i * words, (i + 1) * words));
  });
  const played = moves
    .from(state)
    .map(({ name, harm, change }) => told(name, harm, packed.pack(changed(state, change))));
  // A move that leads back to the same state loses nothing.
  const effective = (them: string[]) => new Set(them.filter((text) => !text.endsWith(`: ${from}`)));
  expect(effective(seen)).toEqual(effective(played));
}

function verdict(moves: Moves, options: WorldOptions, faults: number, reduced: boolean) {
  const { world } = new MigrationWorld(moves, beginning(moves, options), { reduced });
  const { broken, states, whole } = explore(world, { faults });
  return { states, whole, guarantee: broken?.guarantee, length: broken?.moves.length };
}

/** Returns the reduced search's verdict, which must equal that of the unreduced one, by a trace of the same length. */
function bothSay(moves: Moves, options: WorldOptions, faults: number) {
  const { states: fewer, ...reduced } = verdict(moves, options, faults, true);
  const { states: all, ...unreduced } = verdict(moves, options, faults, false);
  console.log(`${JSON.stringify(options)}, up to ${faults} faults: ${all} states are ${fewer} reduced ones`);
  expect(reduced).toEqual(unreduced);
  expect(fewer).toBeLessThanOrEqual(all);
  return reduced.guarantee;
}

test.each(worlds)("%s, the reduced search finds no breakage, like the unreduced one", (_, options) => {
  expect(bothSay(movesOf(options), options, 0)).toBeUndefined();
});

test("both searches find how a source that resumes without an answer breaks a guarantee", () => {
  const options: WorldOptions = { policy: { whenUnreachable: "resume", patienceMs: 1 } };
  expect(bothSay(movesOf(options), options, 1)).toMatch(/^G[134]/);
});

test("both searches find how a destination that claims nothing at the fence runs a guest that went on elsewhere", () => {
  const { rules } = movesOf(fenced);
  const logic = destinationMachine.provide({ guards: { mustClaim: () => false } });
  const { input } = rules.destination.first;
  if (input === undefined) throw new Error("a destination needs an input");
  const careless = new Moves({ ...rules, destination: new Species("destination", logic, input) });
  expect(bothSay(careless, fenced, 1)).toMatch(/^G[134]/);
});
