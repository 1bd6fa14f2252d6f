// A search as a test: it has to be whole, and its size is told.

import { expect } from "vitest";
import { type SearchOptions, search } from "../../src/testing/search.js";
import { shown } from "./shown.js";

export function searchAll(name: string, options: SearchOptions): void {
  const startedMs = performance.now();
  const { states, transitions, ends, whole } = shown(() => search(options));
  const seconds = (performance.now() - startedMs) / 1000;
  console.log(
    `${name}, up to ${options.faults} faults: ${states} states, ${transitions} steps, ${ends} ends, ` +
      `${seconds.toFixed(0)} s, ${Math.round(states / seconds)} states/s`,
  );
  expect(whole).toBe(true);
  expect(ends).toBeGreaterThan(10);
}
