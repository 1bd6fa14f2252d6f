import { describe, expect, test } from "vitest";
import {
  checkLimits,
  expectedRemainingMs,
  hasMoved,
  type Progress,
} from "../../../src/protocol/convergence/limits.js";
import { backoffMs, defaultDeadlines } from "../../../src/protocol/deadlines.js";
import { byRootCause, failure } from "../../../src/protocol/failure.js";
import { MigrationError } from "../../../src/protocol/migration-error.js";
import { deriveOutcome } from "../../../src/protocol/outcomes.js";
import { effects, steps } from "../../../src/protocol/steps.js";

const progress: Progress = {
  transferredBytes: 10,
  remainingBytes: 1000,
  totalBytes: 2000,
  dirtyBytesPerSecond: 500,
  bandwidthBytesPerSecond: 1500,
  pass: 1,
  expectedDowntimeMs: null,
  elapsedMs: 5,
  disks: null,
};

describe("the step table", () => {
  test("has libvirt's five steps in order, and settle", () => {
    expect(Object.entries(steps).map(([name, it]) => [name, it.number, it.side])).toEqual([
      ["begin", 1, "source"],
      ["prepare", 2, "destination"],
      ["perform", 3, "source"],
      ["finish", 4, "destination"],
      ["confirm", 5, "source"],
      ["settle", 6, "destination"],
    ]);
  });

  test("gives every effect a deadline and an undo that exists", () => {
    const words = ["nothing to undo", "is an undo", "cannot be undone", ...Object.keys(effects)];
    for (const [name, it] of Object.entries(effects)) {
      expect(it.deadlineMs, name).toBeGreaterThan(0);
      expect(words, name).toContain(it.undo);
    }
  });
});

describe("judging who runs the guest", () => {
  const heard = (
    source: Parameters<typeof deriveOutcome>[0]["source"],
    destination: Parameters<typeof deriveOutcome>[0]["destination"],
  ) => deriveOutcome({ source, destination, failures: [] });

  test.each([
    ["left", "arrived", "arrived"],
    ["stuck", "arrived", "arrived"],
    ["left", null, "arrived"],
    ["left", "lost", "lost"],
    ["lost", "refused", "lost"],
    ["stayed", "refused", "stayed"],
    ["stayed", null, "stayed"],
    [null, "refused", "undecided"],
    [null, null, "undecided"],
    ["stuck", "refused", "undecided"],
  ] as const)("source %s and destination %s: %s", (source, destination, kind) => {
    expect(heard(source, destination)).toBe(kind);
  });
});

describe("failures", () => {
  const at = (code: Parameters<typeof failure>[0], side: Parameters<typeof failure>[2], message: string) =>
    failure(code, "perform", side, { message });

  test("are ordered by cause: a death before the broken stream that it left", () => {
    const order = byRootCause([at("qemu", "source", "stream broke"), at("died", "destination", "killed")]);
    expect(order.map((failure) => failure.message)).toEqual(["killed", "stream broke"]);
  });

  test("become one error with step, side, what was undone and what to do next", () => {
    const error = new MigrationError(
      "stayed",
      [at("stalled", "source", "no byte"), at("died", "destination", "ended")],
      ["a"],
    );
    expect(error).toMatchObject({ step: "perform", side: "source", runs: "source", undone: ["a"] });
    expect(error.message).toBe(
      "perform failed at the source: no byte (the migration failed; the guest remains at the source)",
    );
    expect(error.cause).toBeInstanceOf(AggregateError);
  });
});

describe("progress", () => {
  test("has a forecast of the remaining time, and shows when it never ends", () => {
    expect(expectedRemainingMs(progress)).toBe(1000);
    expect(expectedRemainingMs({ ...progress, dirtyBytesPerSecond: 1500 })).toBeNull();
    expect(expectedRemainingMs({ ...progress, remainingBytes: 0, dirtyBytesPerSecond: 9999 })).toBe(0);
  });

  test("counts in bytes or in passes", () => {
    expect(hasMoved(null, progress)).toBe(true);
    expect(hasMoved(progress, progress)).toBe(false);
    expect(hasMoved(progress, { ...progress, transferredBytes: 11 })).toBe(true);
    expect(hasMoved(progress, { ...progress, pass: 2 })).toBe(true);
  });

  test("has limits, and names one out of range", () => {
    expect(() => checkLimits({ maxDowntimeMs: 0 })).toThrow(
      "maxDowntimeMs is 0; it must be from 1 to 2000000",
    );
    expect(() => checkLimits({ stallMs: Number.NaN })).toThrow("stallMs is NaN");
    expect(() => checkLimits({ bandwidthMiBps: 0 })).not.toThrow();
  });

  test("is retried with growing delays, up to a limit", () => {
    const waits = [0, 1, 2, 20].map((attempt) => backoffMs(defaultDeadlines, attempt));
    expect(waits).toEqual([100, 200, 400, 10_000]);
  });
});
