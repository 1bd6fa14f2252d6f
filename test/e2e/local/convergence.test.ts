// Checks G1, G2, G5 and G7 on real QEMU with memory that does not converge: each measure of a convergence policy, and the death
// of a peer while one is applied.

import { describe, expect, test } from "vitest";
import { measureDirtyRate } from "../../../src/drivers/qemu/migration/dirty-rate.js";
import type { Observation } from "../../../src/effects/trace.js";
import type { MigrateOptions } from "../../../src/library/local/migrate.js";
import type { Migration } from "../../../src/library/migration-handle.js";
import type { ProofGuestLaunchOptions } from "../../../src/proof-guest/launch.js";
import type { ConvergenceAction, ConvergencePolicy } from "../../../src/protocol/convergence/policy.js";
import { destinationPid, inLab, type Lab } from "../../support/proof-guests.js";

/** The guest writes to 6 MiB of its memory several times while they are sent once. */
const busy: ProofGuestLaunchOptions = { workingSetMiB: 6, dirtyMiBps: 60 };
const narrow = { bandwidthMiBps: 20, maxDowntimeMs: 20 };

const fruitless = (passes: number, measure: ConvergenceAction): ConvergencePolicy => [
  { when: { notConvergingForPasses: passes }, do: measure },
];

interface Told {
  readonly migration: Migration;
  /** Returns the story's entries about rules. */
  readonly measures: string[];
  readonly states: string[];
}

function moved(lab: Lab, options: Partial<MigrateOptions>, when?: (record: Observation) => void): Told {
  const measures: string[] = [];
  const states: string[] = [];
  const migration = lab.migrate({ limits: narrow, ...options }, (record) => {
    if (record.kind === "aside" && record.aside.type === "measure") measures.push(record.aside.does);
    if (record.kind === "state" && record.side === "source") states.push(record.state);
    when?.(record);
  });
  return { migration, measures, states };
}

/** A rule suspends the guest; `then` is called right after. */
function suspended(lab: Lab, then: () => void): Migration {
  const convergence: ConvergencePolicy = [{ when: { elapsedMs: 800 }, do: "suspend" }];
  const limits = { ...narrow, bandwidthMiBps: 4 };
  const { migration } = moved(lab, { convergence, limits }, (record) => {
    if (record.kind === "state" && record.state.includes("suspending")) setTimeout(then, 50);
  });
  return migration;
}

const settingsOf = async (lab: Lab) => {
  const main = lab.guest?.process.main;
  return {
    parameters: await main?.execute("query-migrate-parameters", {}),
    capabilities: await main?.execute("query-migrate-capabilities", {}),
  };
};

describe("a busy guest over a narrow link", () => {
  test("arrives when its maximum downtime is relaxed step by step", async () => {
    await inLab(busy, async (lab) => {
      const convergence = fruitless(1, { relaxDowntimeToMs: { from: 100, by: 400, to: 500 } });
      const { migration, measures } = moved(lab, { convergence });
      expect(await lab.ended(migration)).toMatchObject({ kind: "arrived" });
      // The downtime itself is short: QEMU lifts the bandwidth limit for it.
      expect(measures).toEqual([
        "raises the maximum downtime to 100 ms",
        "raises the maximum downtime to 500 ms",
      ]);
    });
  });

  test("arrives when a rule widens the bandwidth", async () => {
    await inLab(busy, async (lab) => {
      const { migration } = moved(lab, { convergence: fruitless(2, { bandwidthToMiBps: 0 }) });
      expect(await lab.ended(migration)).toMatchObject({ kind: "arrived" });
    });
  });

  test("arrives when it is throttled, and then runs unthrottled", async () => {
    await inLab({ ...busy, dirtyMiBps: 30 }, async (lab) => {
      const before = await settingsOf(lab);
      const convergence = fruitless(1, { throttleToPercent: 99 });
      const { migration, measures } = moved(lab, { convergence });
      expect(await lab.ended(migration)).toMatchObject({ kind: "arrived" });
      expect(measures).toEqual(["throttles the guest to 99 %"]);
      expect(await settingsOf(lab)).toEqual(before);
    });
  });

  test("arrives when it is suspended after a timeout, and runs there", async () => {
    await inLab(busy, async (lab) => {
      const convergence: ConvergencePolicy = [{ when: { elapsedMs: 1_000 }, do: "suspend" }];
      const { migration, measures } = moved(lab, { convergence });
      const outcome = await lab.ended(migration);
      expect(outcome).toMatchObject({ kind: "arrived" });
      expect(measures).toEqual(["suspends the guest"]);
      // From the rule's suspend on: the rest of one pass, and another pass.
      expect(outcome.downtimeMs).toBeGreaterThan(100);
    });
  });

  test("keeps running at the source, with the rule as the reason, when its policy aborts", async () => {
    await inLab(busy, async (lab) => {
      const convergence: ConvergencePolicy = [
        { when: { notConvergingForPasses: 1 }, do: { relaxDowntimeToMs: 30 } },
        { when: { elapsedMs: 1_500 }, do: "abort" },
      ];
      const { migration } = moved(lab, { convergence });
      const outcome = await lab.ended(migration);
      expect(outcome).toMatchObject({
        kind: "stayed",
        runs: "source",
        error: { step: "perform", side: "source" },
      });
      expect(outcome.error?.failures[0]).toMatchObject({ code: "diverges" });
      expect(outcome.error?.message).toMatch(
        /rule 2 of the convergence policy aborts the migration, because memory has been transferred for 1\d{3} ms; forecast: does not converge: it needs a downtime of \d+ ms/,
      );
      expect(outcome.error?.undone).toContain(
        "the source resumed the guest and restored QEMU's migration settings",
      );
      expect(await lab.ended(lab.migrate())).toMatchObject({ kind: "arrived" });
    });
  });

  test("has a forecast, before its migration as far as possible, and during it", async () => {
    await inLab(busy, async (lab) => {
      if (lab.guest === null) throw new Error("no guest was booted");
      const { dirtyBytesPerSecond } = await measureDirtyRate(lab.guest);
      // All of the working set within the second, and every page counted once.
      expect(dirtyBytesPerSecond / 2 ** 20).toBeGreaterThan(2);
      expect(dirtyBytesPerSecond / 2 ** 20).toBeLessThan(12);
      const kinds = new Set<string>();
      const { migration } = moved(lab, {});
      for await (const { forecast, progress } of migration.progress) {
        if (progress !== null) kinds.add(forecast.kind);
        if ((progress?.pass ?? 0) > 6) break;
      }
      expect([...kinds].slice(0, 1), "nothing is said too soon").toEqual(["unknown"]);
      expect(kinds).toContain("diverges");
      expect(migration.snapshot().forecast.kind).toBe("diverges");
      await migration.setMaxDowntime(1_000);
      expect(await lab.ended(migration)).toMatchObject({ kind: "arrived" });
    });
  });
});

test("QEMU accepts a new throttle during a migration, but not a new capability", async () => {
  await inLab(busy, async (lab) => {
    const main = lab.guest?.process.main;
    const throttled = async () => (await main?.execute("query-migrate", {}))?.["cpu-throttle-percentage"];
    const convergence = fruitless(1, { throttleToPercent: { from: 40, by: -30, to: 10 } });
    const { migration } = moved(lab, { convergence, limits: { ...narrow, maxDowntimeMs: 1 } });
    const seen: number[] = [];
    while (!seen.includes(10)) {
      const percent = await throttled();
      if (percent !== undefined && seen.at(-1) !== percent) seen.push(percent);
      if (seen.length > 4) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const off = { capabilities: [{ capability: "auto-converge", state: false }] };
    await expect(main?.execute("migrate-set-capabilities", off)).rejects.toThrow(
      "migration process in progress",
    );
    await migration.abort();
    expect(await lab.ended(migration)).toMatchObject({ kind: "aborted" });
    expect(seen.at(-1)).toBe(10);
  });
});

describe("while a measure is applied,", () => {
  test("a guest that was suspended for it resumes at the source when the destination's QEMU dies", async () => {
    await inLab(busy, async (lab) => {
      const migration = suspended(lab, () => process.kill(destinationPid(lab), "SIGKILL"));
      const outcome = await lab.ended(migration);
      expect(outcome).toMatchObject({ kind: "stayed", runs: "source" });
      expect(outcome.error?.message).toContain("was killed by SIGKILL");
      expect(await lab.ended(lab.migrate())).toMatchObject({ kind: "arrived" });
    });
  });

  test.each([
    ["relaxing", { relaxDowntimeToMs: 30 }],
    ["throttling", "throttle"],
  ] as const)("a guest stays when the destination's QEMU dies in %s", async (state, measure) => {
    await inLab(busy, async (lab) => {
      const { migration, states } = moved(lab, { convergence: fruitless(1, measure) }, (record) => {
        if (record.kind === "state" && record.state.includes(state))
          process.kill(destinationPid(lab), "SIGKILL");
      });
      expect(await lab.ended(migration)).toMatchObject({ kind: "stayed", runs: "source" });
      expect(states.join()).toContain(state);
      expect(await lab.ended(lab.migrate())).toMatchObject({ kind: "arrived" });
    });
  });

  test("an operator's abort is accepted, and the suspended guest resumes", async () => {
    await inLab(busy, async (lab) => {
      const migration = suspended(lab, () => void migration.abort());
      expect(await lab.ended(migration)).toMatchObject({ kind: "aborted", runs: "source" });
    });
  });
});
