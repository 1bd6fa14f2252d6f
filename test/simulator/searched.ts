// Runs a search as a test: it must be complete, and its size is logged.

import { expect } from "vitest";
import type { Found, SearchOptions } from "../../src/simulator/search.js";
import { BrokenGuarantee } from "../../src/simulator/world.js";
import { inThread } from "./in-thread.js";
import type { Answer } from "./search-worker.js";
import { shown } from "./shown.js";

export async function searchAll(name: string, options: SearchOptions): Promise<void> {
  const startedMs = performance.now();
  const answer = await inThread<Answer>("search-worker", options);
  const { states, transitions, ends, whole } = shown(() => foundIn(answer));
  const seconds = (performance.now() - startedMs) / 1000;
  console.log(
    `${name}, up to ${options.faults} faults: ${states} states, ${transitions} steps, ${ends} ends, ` +
      `${seconds.toFixed(0)} s, ${Math.round(states / seconds)} states/s`,
  );
  expect(whole).toBe(true);
  expect(ends).toBeGreaterThan(10);
}

function foundIn(answer: Answer): Found {
  if ("found" in answer) return answer.found;
  throw new BrokenGuarantee(answer.story, answer.counterexample);
}
