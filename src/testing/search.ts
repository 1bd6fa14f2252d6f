// Exhaustive search: every order of everything that can happen in the simulated world, up to a number of faults. It
// finds a state in which a guarantee does not hold, by the shortest story, or shows that there is none; and it shows
// that from every state, once faults end, a good end can be reached (G2, G5).

import { Pairs, unreached } from "./liveness.js";
import type { Move } from "./moves.js";
import { Reached } from "./reached.js";
import { brokenAt, brokenInTheEnd, changed } from "./state.js";
import { beginning, movesOf, World, type WorldOptions } from "./world.js";

export interface SearchOptions extends WorldOptions {
  readonly faults: number;
  /** Default: all. */
  readonly mostStates?: number;
}

export interface Found {
  readonly states: number;
  readonly transitions: number;
  /** States in which nothing more can happen. */
  readonly ends: number;
  /** False when `mostStates` was reached before the end; nothing is shown then about what is beyond. */
  readonly whole: boolean;
}

const isCalm = (move: Move): boolean => !move.fault && move.rare !== "person";

/** @throws BrokenGuarantee with the shortest story: as few faults as possible, then as few moves. */
export function search({ faults, mostStates = Infinity, ...options }: SearchOptions): Found {
  const possible = movesOf(options);
  const reached = new Reached();
  /** By state: where it was first reached from, and by which move there. */
  const from: number[] = [-1];
  const by: number[] = [0];
  /** The steps that need neither a fault nor a person. */
  const calm = new Pairs();
  const good: number[] = [];
  let transitions = 0;

  const retell = (id: number, last: number | undefined, broken: string): never => {
    const picks = last === undefined ? [] : [last];
    for (let it = id; from[it] !== -1; it = from[it] ?? -1) picks.unshift(by[it] ?? 0);
    const world = new World(faults, options);
    for (const pick of picks) {
      const move = possible.from(world.state)[pick];
      if (move === undefined) throw new Error(`there is no move ${pick}: the story does not fit the world`);
      world.take(move);
    }
    throw world.broken(broken);
  };

  // A state is met first with the most faults left, and what can happen with fewer can happen with more: so it is looked
  // at once.
  reached.add(beginning(possible, options));
  let level = [0];
  for (let faultsLeft = faults; level.length > 0 && reached.size < mostStates; faultsLeft -= 1) {
    const next: number[] = [];
    for (let head = 0; head < level.length && reached.size < mostStates; head += 1) {
      const id = level[head] ?? 0;
      const state = reached.at(id);
      const moves = possible.from(state);
      if (!moves.some(isCalm)) {
        const broken = brokenInTheEnd(state);
        if (broken !== undefined) retell(id, undefined, broken);
        good.push(id);
      }
      for (const [pick, move] of moves.entries()) {
        if (move.fault) continue;
        transitions += 1;
        const after = changed(state, move.change);
        const broken = move.harm ?? brokenAt(after);
        if (broken !== undefined) retell(id, pick, broken);
        const { id: to, isNew } = reached.add(after);
        if (isCalm(move)) calm.push(id, to);
        if (isNew) {
          from.push(id);
          by.push(pick);
          level.push(to);
        }
      }
    }
    if (faultsLeft === 0) break;
    // Only when everything that needs no fault has been met.
    for (const id of level) {
      const state = reached.at(id);
      for (const [pick, move] of possible.from(state).entries()) {
        if (!move.fault) continue;
        transitions += 1;
        const after = changed(state, move.change);
        const broken = move.harm ?? brokenAt(after);
        if (broken !== undefined) retell(id, pick, broken);
        const { id: to, isNew } = reached.add(after);
        if (!isNew) continue;
        from.push(id);
        by.push(pick);
        next.push(to);
      }
    }
    level = next;
  }
  const whole = reached.size < mostStates;
  if (whole) {
    const lost = unreached(reached.size, calm, good);
    if (lost !== undefined) retell(lost, undefined, "G2, G5: from here no good end can be reached");
  }
  return { states: reached.size, transitions, ends: good.length, whole };
}
