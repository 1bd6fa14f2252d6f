// Checks that a limited wait ends (G5).

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import * as z from "zod/mini";
import { systemClock } from "../../../src/drivers/platform/clock.js";
import { within } from "../../../src/effects/within.js";

const collect = (): void => {
  setFlagsFromString("--expose-gc");
  z.function({ input: [], output: z.void() }).implement(runInNewContext("gc"))();
};

/** Resolves when the signal is aborted. */
const abortOf = (signal: AbortSignal): Promise<string> =>
  new Promise((resolve) => {
    const told = () => resolve("aborted");
    if (signal.aborted) told();
    else signal.addEventListener("abort", told);
  });

describe("a limited wait", () => {
  test("ends after its time limit, even after a garbage collection", async () => {
    const never = new AbortController();
    const waited = within(systemClock, 300, never.signal, abortOf);
    const collecting = setInterval(collect, 20);
    const late = new Promise((resolve) => setTimeout(resolve, 10_000, "still waiting"));
    expect(await Promise.race([waited, late])).toBe("aborted");
    clearInterval(collecting);
  });

  test("ends when its signal is aborted, also before it began", async () => {
    const asked = new AbortController();
    const waited = within(systemClock, 60_000, asked.signal, abortOf);
    asked.abort();
    expect(await waited).toBe("aborted");
    expect(await within(systemClock, 60_000, asked.signal, abortOf)).toBe("aborted");
  });

  test("leaves no timer when it has ended by itself", async () => {
    const cleared: unknown[] = [];
    const clock = { setTimeout: () => "timer", clearTimeout: (timer: unknown) => void cleared.push(timer) };
    expect(await within(clock, 1, new AbortController().signal, async () => "done")).toBe("done");
    expect(cleared).toEqual(["timer"]);
  });
});
