// Shared by all kinds of moves of the simulated world: the type of a move, and the rules of a world.

import type { Species } from "./machine-model.js";
import type { Change } from "./state.js";

export interface Move {
  readonly name: string;
  /** Costs one of the world's faults. */
  readonly fault: boolean;
  /** In a fair run these moves wait for all others; no guarantee may depend on an operator. */
  readonly rare?: "timer" | "operator";
  readonly change: Change;
  /** The guarantee that the move itself violates, whatever follows. */
  readonly harm?: string | undefined;
}

export interface Rules {
  readonly source: Species;
  readonly destination: Species;
  readonly coordinator: Species;
  /** True: the coordinator runs in the source's engine, and dies and restarts with it. False: it runs in a client and dies permanently. */
  readonly peerToPeer: boolean;
  /** The operator may request post-copy at any time. */
  readonly postcopy: boolean;
  /** The times at which rules of the convergence policy are due, ascending, in ms of memory transfer. */
  readonly dueMs: readonly number[];
}
