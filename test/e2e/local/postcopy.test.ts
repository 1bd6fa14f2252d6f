// Post-copy on real QEMUs: the guest runs at the destination before its memory has arrived. Until the handover the source can
// resume it; from then on the source never runs it again (G1, G3).

import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { describe, expect, test, vi } from "vitest";
import type { Observation } from "../../../src/effects/trace.js";
import type { MigrateOptions } from "../../../src/library/local/migrate.js";
import type { Migration } from "../../../src/library/migration-handle.js";
import { patienceMs } from "../../support/patience.js";
import { destinationPid, inLab, type Lab, memoryMoves } from "../../support/proof-guests.js";
import { qemusOf } from "../../support/qemus-of.js";

/** Much memory, sent slowly, so that most of it has not arrived at the handover. */
const guest = { memoryKiB: 131_080, workingSetMiB: 96, dirtyMiBps: 64 };
const limits = { bandwidthMiBps: 24, stallMs: 2_000 };
const slow: Partial<MigrateOptions> = { stream: { postcopy: {} }, limits };
/** The remaining memory is sent slowly too, so that a test can act in the meantime. */
const slower: Partial<MigrateOptions> = { stream: { postcopy: { bandwidthMiBps: 8 } }, limits };

const at =
  (side: Observation["side"], state: string, act: () => unknown) =>
  (record: Observation): void => {
    if (record.kind === "state" && record.side === side && record.state.includes(state)) act();
  };

async function overToPostcopy(
  lab: Lab,
  when?: (record: Observation, migration: () => Migration) => void,
): Promise<Migration> {
  const migration = lab.migrate(slower, when);
  await memoryMoves(migration);
  expect(await migration.startPostcopy()).toMatchObject({ applied: true });
  return migration;
}

test("a guest runs at the destination before its memory has arrived, and arrives whole", async () => {
  await inLab(guest, async (lab) => {
    const source = lab.guest?.process.pid ?? 0;
    let running = 0;
    const migration = await overToPostcopy(
      lab,
      at("destination", "fetchingPages", () => {
        running = qemusOf(lab.proof.guest.spec.uuid).length;
      }),
    );
    const outcome = await lab.ended(migration);
    expect(outcome.kind).toBe("arrived");
    expect(running, "both QEMUs were there while it fetched").toBe(2);
    expect(outcome.guest?.process.pid).not.toBe(source);
    expect(await lab.ended(lab.migrate()), "and it can leave again").toMatchObject({ kind: "arrived" });
  });
});

test("post-copy is refused unless it was enabled, and the migration continues unchanged", async () => {
  await inLab({}, async (lab) => {
    const migration = lab.migrate({ limits: { bandwidthMiBps: 24 } });
    await memoryMoves(migration);
    expect(await migration.startPostcopy()).toMatchObject({
      applied: false,
      why: expect.stringContaining("without the postcopy option"),
    });
    expect(await lab.ended(migration)).toMatchObject({ kind: "arrived" });
  });
});

test("a rule switches to post-copy when memory does not converge", async () => {
  await inLab(guest, async (lab) => {
    const states: string[] = [];
    const migration = lab.migrate(
      { ...slow, convergence: [{ when: { passes: 1 }, do: "postcopy" }] },
      (record) => {
        if (record.kind === "state" && record.side === "source") states.push(record.state);
      },
    );
    expect(await lab.ended(migration)).toMatchObject({ kind: "arrived" });
    expect(states).toContain("serving.watching");
  });
});

describe("an operator aborts", () => {
  test("before QEMU has switched over: the guest stays, and can be moved again at once", async () => {
    await inLab(guest, async (lab) => {
      const migration = await overToPostcopy(lab);
      expect(await migration.abort()).toMatchObject({ accepted: true });
      expect(await lab.ended(migration)).toMatchObject({ kind: "aborted" });
      expect(await lab.ended(lab.migrate())).toMatchObject({ kind: "arrived" });
    });
  });

  test("after the handover: the abort is refused with a reason, and the guest arrives", async () => {
    await inLab(guest, async (lab) => {
      let answer: ReturnType<Migration["abort"]> | undefined;
      const migration = await overToPostcopy(lab, (record, call) =>
        at("source", "serving", () => {
          answer ??= call().abort();
        })(record),
      );
      expect(await lab.ended(migration)).toMatchObject({ kind: "arrived" });
      expect(await answer).toMatchObject({ accepted: false });
    });
  });
});

test("the migration reconnects when its connection breaks, and the guest arrives whole", async () => {
  await inLab(guest, async (lab) => {
    const breaks: string[] = [];
    const source = lab.guest;
    const migration = await overToPostcopy(
      lab,
      at("source", "serving", () => {
        if (breaks.push("broken") > 2) return;
        void source?.process.rescue.execute("migrate-pause", {}, { oob: true });
      }),
    );
    const outcome = await lab.ended(migration);
    expect(outcome.kind).toBe("arrived");
    expect(breaks.length).toBeGreaterThanOrEqual(2);
  });
});

test("a connection without data is abandoned and replaced", async () => {
  await inLab(guest, async (lab) => {
    const states: string[] = [];
    let stopped = 0;
    const migration = await overToPostcopy(lab, (record) => {
      if (record.kind !== "state" || record.side !== "source") return;
      states.push(record.state);
      if (record.state === "serving.watching" && stopped === 0) {
        stopped = destinationPid(lab);
        process.kill(stopped, "SIGSTOP");
      }
      if (record.state.startsWith("reconnecting")) process.kill(stopped, "SIGCONT");
    });
    expect(await lab.ended(migration)).toMatchObject({ kind: "arrived" });
    expect(states).toContain("serving.breaking");
  });
});

describe("the destination's QEMU dies", () => {
  test("before QEMU has switched over: the guest keeps running at the source", async () => {
    await inLab(guest, async (lab) => {
      const migration = lab.migrate(
        slow,
        at("source", "postcopy.announcing", () => process.kill(destinationPid(lab), "SIGKILL")),
      );
      await memoryMoves(migration);
      await migration.startPostcopy();
      expect(await lab.ended(migration)).toMatchObject({ kind: "stayed" });
    });
  });

  test("in post-copy: the guest is reported as lost, with its remains, and no copy runs", async () => {
    await inLab(guest, async (lab) => {
      const source = lab.proof.guest.process;
      const migration = await overToPostcopy(
        lab,
        at("source", "serving", () => process.kill(destinationPid(lab), "SIGKILL")),
      );
      const outcome = await migration.outcome;
      expect(outcome).toMatchObject({ kind: "lost", runs: "nobody", guest: null });
      expect(outcome.error?.message).toContain("died");
      expect(outcome.error?.failures.map((failure) => failure.message).join()).toContain(
        "the remaining copy is from the switch",
      );
      expect(await source.main.execute("query-status", {})).toMatchObject({ running: false });
      lab.guest = null;
      await lab.proof.guest.end();
    });
  });
});

test("the source's QEMU dies in post-copy: the guest is reported as lost, with its remains", async () => {
  await inLab(guest, async (lab) => {
    const source = lab.proof.guest.process;
    const migration = await overToPostcopy(
      lab,
      at("source", "serving", () => source.signal("SIGKILL")),
    );
    const outcome = await migration.outcome;
    expect(outcome).toMatchObject({ kind: "lost", guest: null });
    expect(outcome.error?.failures.map((failure) => failure.message).join()).toContain(
      "memory that had not arrived",
    );
    lab.guest = null;
    const [left] = qemusOf(lab.proof.guest.spec.uuid);
    expect(left, "a person may still look at it").toBeDefined();
    process.kill(left ?? 0, "SIGKILL");
    await vi.waitFor(
      () => expect(readdirSync(tmpdir()).filter((file) => /^switchover-\w{8}-/.test(file))).toEqual([]),
      patienceMs,
    );
  });
});
