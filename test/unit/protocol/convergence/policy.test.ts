// Checks the forecast and the convergence policy as pure decisions, and G5 for policies with a model of a memory stream.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  addReport,
  describeForecast,
  emptyHistory,
  forecast,
  forecastBefore,
  type StreamHistory,
} from "../../../../src/protocol/convergence/forecast.js";
import { defaultLimits, type Progress } from "../../../../src/protocol/convergence/limits.js";
import {
  autoConvergePolicy,
  type ConvergenceAction,
  type ConvergencePolicy,
  dueMeasures,
  postcopyAfterPrecopyPolicy,
  take,
  timeoutPolicy,
} from "../../../../src/protocol/convergence/policy.js";
import {
  checkConvergencePolicy,
  isConvergencePolicy,
} from "../../../../src/protocol/convergence/validate.js";
import { type GuestModel, playPolicy } from "../../../../src/simulator/play-policy.js";

const mebi = 2 ** 20;
/** The end of the model's migration. */
const told = (story: readonly string[]) => story.slice(-40).join("\n");

const report = (change: Partial<Progress>): Progress => ({
  transferredBytes: 0,
  remainingBytes: 64 * mebi,
  totalBytes: 64 * mebi,
  dirtyBytesPerSecond: 0,
  bandwidthBytesPerSecond: 20 * mebi,
  pass: 1,
  expectedDowntimeMs: null,
  disks: null,
  elapsedMs: 0,
  ...change,
});

/** Passes of one second each, at 20 MiB/s, that begin with so many MiB. */
const passes = (...mebibytes: number[]): StreamHistory =>
  mebibytes
    .flatMap((mebibyte, index) =>
      [0, 500].map((ms) =>
        report({
          pass: index + 1,
          elapsedMs: index * 1000 + ms,
          transferredBytes: (index * 1000 + ms) * 20 * 1024,
          remainingBytes: (mebibyte - ms / 50) * mebi,
          dirtyBytesPerSecond: index === 0 ? 0 : mebibyte * mebi,
        }),
      ),
    )
    .reduce(addReport, emptyHistory);

describe("a forecast", () => {
  test("is not available before data is sent, nor before the first pass has shown a dirty rate", () => {
    expect(forecast(emptyHistory, defaultLimits)).toEqual({
      kind: "unknown",
      why: "nothing has been sent yet",
    });
    const first = passes(64);
    expect(forecast(first, defaultLimits)).toMatchObject({ kind: "unknown" });
    expect(describeForecast(forecast(first, defaultLimits))).toBe(
      "not known yet: the dirty rate is not known before the first pass ends",
    );
  });

  test("uses an earlier measured dirty rate in the first pass", () => {
    const first = passes(64);
    expect(forecast(first, defaultLimits, { measuredDirtyBytesPerSecond: 5 * mebi })).toMatchObject({
      kind: "converges",
    });
    expect(forecast(first, defaultLimits, { measuredDirtyBytesPerSecond: 50 * mebi })).toMatchObject({
      kind: "diverges",
    });
  });

  test("converges when the guest dirties less than is sent, with an estimate of time and downtime", () => {
    const item = forecast(passes(64, 10, 5), { maxDowntimeMs: 50 });
    expect(item).toMatchObject({ kind: "converges" });
    expect(item.kind === "converges" && item.downtimeMs).toBeLessThanOrEqual(50);
    expect(item.kind === "converges" && item.remainingMs).toBeLessThan(1_000);
  });

  test("diverges when the guest dirties as much as is sent, and names the downtime that would suffice", () => {
    const item = forecast(passes(64, 20, 20, 20), { maxDowntimeMs: 300 });
    expect(item).toMatchObject({ kind: "diverges" });
    expect(item.kind === "diverges" && item.pauseNeededMs).toBeGreaterThan(900);
    expect(forecast(passes(64, 20, 20, 20), { maxDowntimeMs: 1_100 })).toMatchObject({ kind: "converges" });
    expect(describeForecast(item)).toMatch(
      /^does not converge: it needs a downtime of \d+ ms or about \d+ MiB\/s$/,
    );
  });

  test("converges when the guest is suspended, whatever it has dirtied", () => {
    expect(forecast(passes(64, 20, 20, 20), { maxDowntimeMs: 1 }, { guestRuns: false })).toMatchObject({
      kind: "converges",
    });
  });

  test("is steady where QEMU's own figure of the bandwidth swings", () => {
    const steady = passes(64, 10);
    const last = steady.reports.at(-1) ?? report({});
    const swung = addReport(steady, {
      ...last,
      elapsedMs: last.elapsedMs + 100,
      transferredBytes: last.transferredBytes + 2 * mebi,
      bandwidthBytesPerSecond: 1,
    });
    expect(forecast(swung, defaultLimits)).toMatchObject({ kind: "converges" });
  });

  test("needs a bandwidth before the migration, and a guest that dirties less than it", () => {
    const guest = { memoryBytes: 64 * mebi, dirtyBytesPerSecond: 16 * mebi, maxDowntimeMs: 300 };
    expect(forecastBefore({ ...guest, bandwidthBytesPerSecond: null })).toMatchObject({ kind: "unknown" });
    expect(forecastBefore({ ...guest, bandwidthBytesPerSecond: 64 * mebi })).toMatchObject({
      kind: "converges",
    });
    expect(forecastBefore({ ...guest, bandwidthBytesPerSecond: 8 * mebi })).toMatchObject({
      kind: "diverges",
    });
  });

  test("is confirmed by the model, whether it converges or diverges", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 4, max: 60 }), (dirty, hot) => {
        const limits = { maxDowntimeMs: 100 };
        const guest: GuestModel = {
          memoryBytes: 64 * mebi,
          hotBytes: hot * mebi,
          dirtyBytesPerSecond: dirty * mebi,
          bandwidthBytesPerSecond: 20 * mebi,
          limits,
        };
        const { outcome, story } = playPolicy([], guest, { maxMs: 60_000 });
        const last = story.findLast((record) => /forecast: (?:completes|does not)/.test(record));
        if (last === undefined) return;
        // Between the two, QEMU's granularity decides: passes of 50 ms.
        if (dirty >= 17 && dirty <= 20) return;
        expect(last, told(story)).toContain(outcome === "arrived" ? "completes" : "does not converge");
      }),
    );
  });
});

describe("a convergence policy", () => {
  const relaxThenAbort: ConvergencePolicy = [
    { when: { notConvergingForPasses: 3 }, do: { relaxDowntimeToMs: 1_000 } },
    { when: { notConvergingForPasses: 5 }, do: "throttle" },
    { when: { elapsedMs: 60_000 }, do: "abort" },
  ];

  test("is refused with rule, name and value", () => {
    const refused = (...policy: unknown[]) => {
      expect(() => checkConvergencePolicy(policy as unknown as ConvergencePolicy)).toThrow(RangeError);
      try {
        checkConvergencePolicy(policy as unknown as ConvergencePolicy);
      } catch (error) {
        return (error as Error).message;
      }
      return "";
    };
    const abort = { when: { elapsedMs: 1 }, do: "abort" };
    expect(refused(abort, { when: { notConvergingForPasses: 0 }, do: "abort" })).toBe(
      "rule 2 of the convergence policy: notConvergingForPasses is 0; it must be from 1 to 1000",
    );
    expect(refused({ when: {}, do: "abort" })).toContain("it has no condition");
    expect(refused({ when: { sometimes: 1 }, do: "abort" })).toContain('unknown condition "sometimes"');
    expect(refused({ when: { elapsedMs: 1 }, do: "pray" })).toContain('unknown measure "pray"');
    expect(refused({ when: { elapsedMs: 1 }, do: { slowDown: 1 } })).toContain(
      "name one of relaxDowntimeToMs",
    );
    expect(refused({ when: { elapsedMs: 1 }, do: { throttleToPercent: 100 } })).toContain(
      "throttleToPercent is 100; it must be from 1 to 99",
    );
    expect(
      refused({ when: { elapsedMs: 1 }, do: { relaxDowntimeToMs: { from: 1, by: -1, to: 9 } } }),
    ).toContain("by is -1; it must lead from 1 to 9");
    expect(() => checkConvergencePolicy(relaxThenAbort)).not.toThrow();
    for (const junk of [null, 1, {}, [null], [{ when: null, do: "abort" }]])
      expect(isConvergencePolicy(junk)).toBe(false);
    expect(isConvergencePolicy(relaxThenAbort)).toBe(true);
  });

  test("returns the due measures in their order, with the reason", () => {
    const history = passes(64, 20, 20, 20, 20);
    expect(history.notConvergingPasses).toBe(3);
    const [due, ...more] = dueMeasures(relaxThenAbort, history, [], defaultLimits);
    expect(due).toEqual({
      rule: 1,
      step: 1,
      action: { kind: "relaxLimits", limits: { maxDowntimeMs: 1_000 } },
      does: "raises the maximum downtime to 1000 ms",
      why: "memory has not converged for 3 passes",
    });
    expect(more).toEqual([]);
    if (due === undefined) throw new Error("nothing is due");
    expect(dueMeasures(relaxThenAbort, history, take([], due, history), defaultLimits)).toEqual([]);
  });

  test("restarts its count with a pass that converges", () => {
    expect(passes(64, 20, 20, 20, 10, 10).notConvergingPasses).toBe(1);
    expect(passes(64, 20, 19.5, 19).notConvergingPasses, "small gains add up").toBe(0);
  });

  test("never lowers a maximum downtime below the configured one", () => {
    const history = passes(64, 20, 20, 20, 20);
    expect(dueMeasures(relaxThenAbort, history, [], { ...defaultLimits, maxDowntimeMs: 2_000 })).toEqual([]);
  });

  test("applies the steps of a measure one by one, each when its condition has held once more", () => {
    const policy: ConvergencePolicy = [
      { when: { notConvergingForPasses: 2 }, do: { relaxDowntimeToMs: { from: 500, by: 500, to: 1_200 } } },
    ];
    const { measures, story } = playPolicy(policy, {
      memoryBytes: 256 * mebi,
      hotBytes: 60 * mebi,
      dirtyBytesPerSecond: 40 * mebi,
      bandwidthBytesPerSecond: 20 * mebi,
    });
    expect(measures.map((measure) => measure.step)).toEqual([1, 2, 3]);
    expect(
      story.filter((record) => record.includes("rule 1")).map((record) => /to (\d+) ms/.exec(record)?.[1]),
    ).toEqual(["500", "1000", "1200"]);
  });

  test("accepts virsh's options", () => {
    expect(timeoutPolicy(60_000)).toEqual([{ when: { elapsedMs: 60_000 }, do: "suspend" }]);
    expect(autoConvergePolicy({ initialPercent: 30 })).toEqual([
      { when: { notConvergingForPasses: 2 }, do: { throttleToPercent: { from: 30, by: 10, to: 99 } } },
    ]);
    const guest = {
      memoryBytes: 64 * mebi,
      dirtyBytesPerSecond: 40 * mebi,
      bandwidthBytesPerSecond: 20 * mebi,
    };
    const { outcome, passes: made } = playPolicy(postcopyAfterPrecopyPolicy, guest);
    expect({ outcome, made }).toEqual({ outcome: "postcopy", made: 2 });
    for (const policy of [timeoutPolicy(10_000), autoConvergePolicy(), postcopyAfterPrecopyPolicy])
      expect(() => checkConvergencePolicy(policy)).not.toThrow();
  });
});

describe("in the model of a memory stream", () => {
  const busy: GuestModel = {
    memoryBytes: 64 * mebi,
    hotBytes: 24 * mebi,
    dirtyBytesPerSecond: 60 * mebi,
    bandwidthBytesPerSecond: 20 * mebi,
  };

  test("a busy guest never arrives by itself, and arrives with each measure", () => {
    expect(playPolicy([], busy)).toMatchObject({ outcome: "endless", measures: [] });
    const by = (measure: ConvergenceAction) =>
      playPolicy([{ when: { notConvergingForPasses: 2 }, do: measure }], busy);
    const relaxed = by({ relaxDowntimeToMs: 2_000 });
    expect(relaxed).toMatchObject({ outcome: "arrived" });
    expect(relaxed.downtimeMs).toBeGreaterThan(300);
    expect(by("throttle")).toMatchObject({ outcome: "arrived" });
    expect(by({ throttleToPercent: 95 })).toMatchObject({ outcome: "arrived" });
    const suspended = by("suspend");
    expect(suspended).toMatchObject({ outcome: "arrived" });
    expect(suspended.downtimeMs).toBeGreaterThan(1_000);
    expect(by("postcopy")).toMatchObject({ outcome: "postcopy", downtimeMs: 0 });
    expect(by("abort")).toMatchObject({ outcome: "aborted", downtimeMs: null });
  });

  const guests: fc.Arbitrary<GuestModel> = fc
    .record({
      memory: fc.integer({ min: 16, max: 512 }),
      hotPercent: fc.integer({ min: 1, max: 100 }),
      dirty: fc.integer({ min: 0, max: 200 }),
      bandwidth: fc.integer({ min: 1, max: 200 }),
      maxDowntimeMs: fc.integer({ min: 1, max: 1_000 }),
    })
    .map(({ memory, hotPercent, dirty, bandwidth, maxDowntimeMs }) => ({
      memoryBytes: memory * mebi,
      hotBytes: (memory * hotPercent * mebi) / 100,
      dirtyBytesPerSecond: dirty * mebi,
      bandwidthBytesPerSecond: bandwidth * mebi,
      limits: { maxDowntimeMs },
    }));
  const soft: fc.Arbitrary<ConvergenceAction> = fc.oneof(
    fc.constant<ConvergenceAction>("throttle"),
    fc.record({ relaxDowntimeToMs: fc.integer({ min: 1, max: 3_000 }) }),
    fc.record({ throttleToPercent: fc.integer({ min: 1, max: 99 }) }),
    fc
      .record({ from: fc.integer({ min: 1, max: 500 }), by: fc.integer({ min: 1, max: 500 }) })
      .map(({ from, by }) => ({ relaxDowntimeToMs: { from, by, to: from + 3 * by } })),
  );
  const softRules = fc.array(
    fc.record({
      when: fc.record({ notConvergingForPasses: fc.integer({ min: 3, max: 10 }) }),
      do: soft,
    }),
    { maxLength: 4 },
  );
  const sure = fc.constantFrom<ConvergenceAction>("postcopy", "suspend", "abort");

  test("a policy whose last rule is post-copy, suspend or abort always ends (G5)", () => {
    fc.assert(
      fc.property(guests, softRules, sure, (guest, rules, last) => {
        const { outcome, story } = playPolicy([...rules, { when: { elapsedMs: 20_000 }, do: last }], guest, {
          // The time to send all of the largest guest twice over the slowest link.
          maxMs: 20_000 + 2 * 512 * 1_000 + 10_000,
        });
        expect(outcome, told(story)).not.toBe("endless");
      }),
    );
  });

  test("no step of a measure is applied twice", () => {
    fc.assert(
      fc.property(guests, softRules, sure, (guest, rules, last) => {
        const { measures } = playPolicy([...rules, { when: { elapsedMs: 20_000 }, do: last }], guest, {
          maxMs: 120_000,
        });
        const names = measures.map((measure) => `${measure.rule}.${measure.step}`);
        expect(new Set(names).size).toBe(names.length);
      }),
    );
  });

  test("a guest that converges by itself gets no measure", () => {
    fc.assert(
      fc.property(guests, softRules, (guest, rules) => {
        const calm = { ...guest, dirtyBytesPerSecond: guest.bandwidthBytesPerSecond / 2 };
        const { outcome, measures, story } = playPolicy(rules, calm, { maxMs: 2_000_000 });
        expect(outcome, told(story)).toBe("arrived");
        expect(measures, told(story)).toEqual([]);
      }),
    );
  });
});
