// Runs one search in a worker thread, so that the test's thread stays responsive.

import { parentPort, workerData } from "node:worker_threads";
import type { Counterexample } from "../../src/simulator/counterexample.js";
import { type Found, type SearchOptions, search } from "../../src/simulator/search.js";
import { BrokenGuarantee } from "../../src/simulator/world.js";

export type Answer =
  | { readonly found: Found }
  | { readonly story: readonly string[]; readonly counterexample: Counterexample };

const answer = (options: SearchOptions): Answer => {
  try {
    return { found: search(options) };
  } catch (error) {
    if (!(error instanceof BrokenGuarantee)) throw error;
    return { story: error.story, counterexample: error.counterexample };
  }
};
parentPort?.postMessage(answer(workerData as SearchOptions));
