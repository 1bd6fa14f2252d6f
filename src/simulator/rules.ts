// What the kinds of moves of the simulated world share: a move, and the rules of the world that it is one of.

import type { Species } from "./machine-model.js";
import type { Change } from "./state.js";

export interface Move {
  readonly name: string;
  /** Costs one of the world's faults. */
  readonly fault: boolean;
  /** They wait for everything else when the world plays fair; nothing may depend on a person. */
  readonly rare?: "timer" | "operator";
  readonly change: Change;
  /** What the move itself does wrong, whatever comes of it. */
  readonly harm?: string | undefined;
}

export interface Rules {
  readonly source: Species;
  readonly destination: Species;
  readonly coordinator: Species;
  /** The coordinator lives in the source's engine, and dies and wakes with it; else in a client, and dies for good. */
  readonly peerToPeer: boolean;
  /** A person asks for post-copy, at any time. */
  readonly postcopy: boolean;
  /** How long memory has been sent when the rules of the convergence policy are due, in order, in ms. */
  readonly dueMs: readonly number[];
}
