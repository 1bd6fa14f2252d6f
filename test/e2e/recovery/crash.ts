// Checks the state after one engine has died during a migration and another has resumed it.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StateMachine } from "xstate";
import { openFileJournal } from "../../../src/drivers/journal/file-journal.js";
import { recoverMigrations } from "../../../src/library/local/recover.js";
import type { RunningGuest } from "../../../src/library/local/running-guest.js";
import { describeContinuity } from "../../../src/proof-guest/continuity.js";
import { launchProofGuest, type ProofGuestLaunchOptions } from "../../../src/proof-guest/launch.js";
import type { OutcomeKind } from "../../../src/protocol/outcomes.js";
import { patienceMs } from "../../support/patience.js";
import { qemusOf } from "../../support/qemus-of.js";
import { runEngine } from "../../support/run-engine.js";
import type { EngineOptions } from "./engine.js";

export interface Crash
  extends Pick<EngineOptions, "diesAt" | "when" | "aborts" | "stream" | "breaksPostcopy"> {
  readonly guest?: ProofGuestLaunchOptions;
  /** Called after the crash. */
  readonly meanwhile?: (guest: RunningGuest) => Promise<void>;
}

export interface Crashed {
  /** The side and the state at which the engine died; `ended …` when the migration was over before. */
  readonly where: string;
  /** Null when there was no migration to resume. */
  readonly outcome: OutcomeKind | null;
  readonly story: readonly string[];
  /** The machines that XState's inspection reported after the restart. */
  readonly inspected: readonly string[];
  /** The time from the restart to the outcome. */
  readonly recoveryMs: number;
}

/** @throws Error when not exactly one guest runs without a gap, or something is left behind. */
export async function crashAndRecover({
  guest: wish = { workingSetMiB: 4 },
  meanwhile = async () => {},
  ...crash
}: Crash): Promise<Crashed> {
  const journal = mkdtempSync(join(tmpdir(), "journal-"));
  const proof = await launchProofGuest(wish);
  const { spec, process: qemu } = proof.guest;
  try {
    const { pid, monitors } = qemu.handle;
    // A monitor serves one client, and from now on that is the engine.
    qemu.main.session.close();
    qemu.rescue.session.close();
    const sideArgs = proof.nextSide("destination");
    const words: EngineOptions = { guest: { spec, pid, monitors }, sideArgs, journal, ...crash };
    const where = (await runEngine("recovery-engine", words)).trim();
    if (where.startsWith("ended")) return { where, outcome: null, story: [], inspected: [], recoveryMs: 0 };

    await meanwhile(proof.guest);
    const story: string[] = [];
    const inspected: string[] = [];
    const restartedMs = performance.now();
    const opened = await openFileJournal(journal);
    const { migrations, failed } = await recoverMigrations({
      journal: opened,
      observe: (seen) => {
        if (seen.kind === "state") story.push(`${seen.side} ${seen.state}`);
      },
      inspect: ({ type, actorRef }) => {
        if (type !== "@xstate.actor" || !("logic" in actorRef)) return;
        if (actorRef.logic instanceof StateMachine) inspected.push(actorRef.logic.id);
      },
    });
    if (failed[0] !== undefined) throw failed[0];
    const outcome = (await migrations[0]?.outcome) ?? null;
    const recoveryMs = performance.now() - restartedMs;
    const running = outcome === null ? pid : outcome.guest?.process.pid;
    const left = qemusOf(spec.uuid);
    if (left.length !== 1 || left[0] !== running)
      throw new Error(`QEMUs ${left} are left, and ${running} should be: ${outcome?.error?.message}`);
    await proof.waitForPasses(1, patienceMs);
    const report = await proof.check();
    if (!report.ok) throw new Error(describeContinuity(report));
    if (outcome !== null && outcome.guest !== null) await checkSettings(outcome.guest);
    await opened.close();
    const later = await openFileJournal(journal);
    const { stories } = await later.unfinished();
    await later.close();
    if (stories.length > 0) throw new Error(`${stories[0]?.path} was not closed`);
    await outcome?.guest?.end();
    const files = migrations.map((migration) => `switchover-${migration.migrationId}`);
    const filesLeft = readdirSync(tmpdir()).filter((file) => files.includes(file));
    if (filesLeft.length > 0) throw new Error(`files are left: ${filesLeft}`);
    return { where, outcome: outcome?.kind ?? null, story, inspected, recoveryMs };
  } finally {
    for (const pid of qemusOf(spec.uuid)) process.kill(pid, "SIGKILL");
    await qemu.exited;
    await proof.remove();
    rmSync(journal, { recursive: true });
  }
}

/** @throws Error when a QEMU still has settings or objects of a migration. */
async function checkSettings({ process: { main } }: RunningGuest): Promise<void> {
  const on = (await main.execute("query-migrate-capabilities", {})).filter((capability) => capability.state);
  const { "tls-creds": tls, "multifd-channels": channels } = await main.execute(
    "query-migrate-parameters",
    {},
  );
  const objects = await main.session.execute("qom-list", { path: "/objects" }, { limitMs: patienceMs });
  const left = [
    ...on.map((capability) => capability.capability),
    ...(JSON.stringify(objects).match(/switchover-[\w-]+/g) ?? []),
  ];
  if (left.length > 0 || tls !== "" || channels !== 2)
    throw new Error(`QEMU still has ${left.join(", ")}, tls-creds "${tls}", ${channels} channels`);
}
