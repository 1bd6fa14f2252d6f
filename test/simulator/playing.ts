// Ways to play the simulated world: by random picks, along the path without faults, or by the names of moves.

import type { State } from "../../src/simulator/state.js";
import { World, type WorldOptions } from "../../src/simulator/world.js";

/** Plays `picks` as moves, then lets everything settle; throws with the story when a guarantee is broken. */
export function play(faults: number, picks: readonly number[], options: WorldOptions = {}): World {
  const world = new World(faults, options);
  for (const pick of picks) {
    // Most picks take a move without a fault: a walk of faults alone would never get far.
    const all = world.moves();
    const calm = all.filter((step) => !step.fault && step.rare === undefined);
    const moves = pick % 10 === 0 || calm.length === 0 ? all : calm;
    const move = moves[Math.floor(pick / 10) % Math.max(1, moves.length)];
    if (move === undefined) break;
    world.take(move);
  }
  world.settleDown();
  return world;
}

/** Plays moves without faults until `reached`, without timers. */
export function playUntil(world: World, reached: (state: State) => boolean): void {
  while (!reached(world.state)) {
    const move = world.moves().find((step) => !step.fault && step.rare === undefined);
    if (move === undefined) throw new Error(`never reached\n${world.story.join("\n")}`);
    world.take(move);
  }
}

/** Takes the move of that name, or the first one whose name contains it. */
export function takeNamed(world: World, name: string): void {
  const moves = world.moves();
  const move = moves.find((each) => each.name === name) ?? moves.find((each) => each.name.includes(name));
  if (move === undefined) throw new Error(`there is no move "${name}"\n${world.story.join("\n")}`);
  world.take(move);
}
