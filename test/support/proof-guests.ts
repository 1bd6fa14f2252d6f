// A lab for real migrations: boots a proof guest, finds its QEMUs by their command lines as an outside observer would, and
// checks afterwards for anything that a migration could have left behind (G6).

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, vi } from "vitest";
import type { Observation } from "../../src/effects/trace.js";
import { type MigrateOptions, migrate } from "../../src/library/local/migrate.js";
import type { RunningGuest } from "../../src/library/local/running-guest.js";
import type { Migration, Outcome } from "../../src/library/migration-handle.js";
import { describeContinuity } from "../../src/proof-guest/continuity.js";
import {
  launchProofGuest,
  type ProofGuest,
  type ProofGuestLaunchOptions,
} from "../../src/proof-guest/launch.js";
import { patienceMs } from "./patience.js";
import { qemusOf } from "./qemus-of.js";

export interface Lab {
  readonly proof: ProofGuest;
  /** The running guest; null when it is lost. */
  guest: RunningGuest | null;
  /** Starts a migration of the guest; `when` is called with each status. */
  migrate(
    options?: Partial<MigrateOptions>,
    when?: (record: Observation, migration: () => Migration) => void,
  ): Migration;
  /** Waits for the outcome and checks the invariants of every outcome. */
  ended(migration: Migration): Promise<Outcome>;
}

export async function inLab(
  wish: ProofGuestLaunchOptions,
  experiment: (lab: Lab) => Promise<void>,
): Promise<void> {
  // vitest.config.ts restores it after each test, whatever its result.
  const directory = mkdtempSync(join(tmpdir(), "lab-"));
  vi.stubEnv("TMPDIR", directory);
  const proof = await launchProofGuest(wish);
  const { uuid } = proof.guest.spec;
  const lab: Lab = {
    proof,
    guest: proof.guest,
    migrate: (options = {}, when = () => {}) => {
      if (lab.guest === null) throw new Error("the guest is lost");
      const migration: Migration = migrate({
        guest: lab.guest,
        destination: { sideArgs: proof.nextSide("destination") },
        ...options,
        observe: (record) => when(record, () => migration),
      });
      return migration;
    },
    ended: async (migration) => {
      const outcome = await migration.outcome;
      lab.guest = outcome.guest;
      const alive = qemusOf(uuid);
      expect(alive, "exactly the QEMU that runs the guest is left").toEqual(
        outcome.guest === null ? [] : [outcome.guest.process.pid],
      );
      if (outcome.guest !== null) {
        expect(await outcome.guest.process.main.execute("query-status", {})).toMatchObject({ running: true });
        await proof.waitForPasses(2, patienceMs);
      }
      const report = await proof.check();
      expect(report.ok, describeContinuity(report)).toBe(true);
      if (outcome.kind === "arrived") {
        const here = report.perStream.findLast((stream) => stream.bytes > 0)?.cyclesVerified;
        expect(here, "all memory that travelled was read back here").toBeGreaterThanOrEqual(1);
      }
      return outcome;
    },
  };
  let left: string[];
  try {
    await experiment(lab);
  } finally {
    for (const pid of qemusOf(uuid)) process.kill(pid, "SIGKILL");
    await Promise.all([proof.guest.process.exited, lab.guest?.process.exited]);
    await proof.remove();
    left = readdirSync(directory);
    rmSync(directory, { recursive: true, force: true });
  }
  expect(left, "every file and socket goes with its process").toEqual([]);
}

/** Returns the pid of the destination QEMU: the newest one of the guest that waits for a stream. */
export function destinationPid(lab: Lab): number {
  const [pid] = qemusOf(lab.proof.guest.spec.uuid, true)
    .filter((value) => value !== lab.guest?.process.pid)
    .toSorted((a, b) => b - a);
  if (pid === undefined) throw new Error("no destination QEMU runs");
  return pid;
}

/** Resolves when the source's machine is in the state. */
export async function sourceReaches(migration: Migration, state: string): Promise<void> {
  for await (const now of migration.progress) if (now.source.startsWith(state)) return;
  throw new Error(`the source was never ${state}`);
}

/** Resolves when memory has been transferred. */
export async function memoryMoves(migration: Migration): Promise<void> {
  for await (const { progress } of migration.progress)
    if ((progress?.transferredBytes ?? 0) > 2 ** 20) return;
  throw new Error("no memory was transferred");
}

/** Resolves when progress has been reported a few more times. */
export async function progressedAgain(migration: Migration): Promise<void> {
  const reports = new Set([migration.snapshot().progress]);
  for await (const { progress } of migration.progress) if (reports.add(progress).size > 4) return;
  throw new Error("there was no more progress");
}

/** Returns the ids of a QEMU's objects, such as credentials. */
export async function objectsOf(guest: RunningGuest | null): Promise<string[]> {
  const found = await guest?.process.main.session.execute(
    "qom-list",
    { path: "/objects" },
    { limitMs: patienceMs },
  );
  return (found as { name: string }[]).map((object) => object.name);
}
