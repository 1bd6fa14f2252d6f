// Exhaustive search of one migration: every order of all moves in the simulated world, up to a number of faults. The search is in
// explore.ts, the packed world in migration-world.ts; this file converts a trace to a story.

import { type BrokenTrace, type Explored, explore } from "./explore.js";
import { MigrationWorld } from "./migration-world.js";
import { changed } from "./state.js";
import { type BrokenGuarantee, beginning, movesOf, World, type WorldOptions } from "./world.js";

export interface SearchOptions extends WorldOptions {
  readonly faults: number;
  /** Default: unlimited. */
  readonly mostStates?: number;
  /** False: states with the same future are distinguished, which costs more and shows nothing more. Default: true. */
  readonly reduced?: boolean;
}

export type Found = Omit<Explored, "broken">;

/** @throws BrokenGuarantee with the shortest story: fewest faults first, then fewest moves. */
export function search({ faults, mostStates = Infinity, reduced = true, ...options }: SearchOptions): Found {
  const moves = movesOf(options);
  const packed = new MigrationWorld(moves, beginning(moves, options), { reduced });
  const { broken, ...found } = explore(packed.world, { faults, maxStates: mostStates });
  if (broken !== undefined) throw reconstruct(broken, packed, new World(faults, options));
  return found;
}

/** Replays the trace in the world that records a story. */
function reconstruct(
  { guarantee, moves }: BrokenTrace,
  packed: MigrationWorld,
  world: World,
): BrokenGuarantee {
  for (const { name, to } of moves) {
    const move = world
      .moves()
      .find(
        (candidate) =>
          candidate.name === name && equal(packed.pack(changed(world.state, candidate.change)), to),
      );
    if (move === undefined)
      throw new Error(`the move "${name}" does not exist in the world: the trace does not match`);
    world.take(move);
  }
  return world.broken(guarantee);
}

const equal = (a: Int32Array, b: Int32Array): boolean => a.every((word, i) => word === b[i]);
