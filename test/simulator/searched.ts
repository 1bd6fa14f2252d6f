// A search as a test: it has to be whole, and its size is told. It runs in a thread of its own, so that the test runner
// stays responsive.

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { expect } from "vitest";
import type { Counterexample } from "../../src/simulator/counterexample.js";
import type { Found, SearchOptions } from "../../src/simulator/search.js";
import { BrokenGuarantee } from "../../src/simulator/world.js";
import { shown } from "./shown.js";

type Answer =
  | { readonly found: Found }
  | {
      readonly message: string;
      /** Absent when it was not a guarantee that broke. */
      readonly story?: readonly string[];
      readonly counterexample?: Counterexample;
    };

export async function searchAll(name: string, options: SearchOptions): Promise<void> {
  const startedMs = performance.now();
  const answer = await searchInThread(options);
  const { states, transitions, ends, whole } = shown(() => foundIn(answer));
  const seconds = (performance.now() - startedMs) / 1000;
  console.log(
    `${name}, up to ${options.faults} faults: ${states} states, ${transitions} steps, ${ends} ends, ` +
      `${seconds.toFixed(0)} s, ${Math.round(states / seconds)} states/s`,
  );
  expect(whole).toBe(true);
  expect(ends).toBeGreaterThan(10);
}

async function searchInThread(options: SearchOptions): Promise<Answer> {
  const worker = new Worker(new URL("./search-worker.mjs", import.meta.url), { workerData: options });
  const [answer] = (await once(worker, "message")) as [Answer];
  await worker.terminate();
  return answer;
}

function foundIn(answer: Answer): Found {
  if ("found" in answer) return answer.found;
  const { message, story, counterexample } = answer;
  if (story === undefined || counterexample === undefined) throw new Error(message);
  throw new BrokenGuarantee(story, counterexample);
}
