// `switchover migrate` within one machine: boots the guest, migrates it, shows the progress, checks the proof, and ends
// every process that it started.

import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { openFileJournal } from "../../drivers/journal/file-journal.js";
import type { FileJournal } from "../../drivers/journal/types.js";
import type { Observe } from "../../effects/trace.js";
import { migrate } from "../../library/local/migrate.js";
import { launchGuest, type RunningGuest } from "../../library/local/running-guest.js";
import type { Migration, Outcome } from "../../library/migration-handle.js";
import { describeContinuity } from "../../proof-guest/continuity.js";
import { launchProofGuest, type ProofGuest } from "../../proof-guest/launch.js";
import { checkLimits } from "../../protocol/convergence/limits.js";
import type { ConvergencePolicy } from "../../protocol/convergence/policy.js";
import { checkConvergencePolicy } from "../../protocol/convergence/validate.js";
import { messageOf } from "../../protocol/effect-result.js";
import { describeFailure } from "../../protocol/failure.js";
import { notProved, outcomes } from "../../protocol/outcomes.js";
import { checkStream, type StreamOptions } from "../../protocol/stream.js";
import { checkPolicy } from "../../protocol/unreachable-policy.js";
import { badInputExitCode, fenceOf, type MigrateFlags } from "../options/command-options.js";
import { convergenceOf, foretell } from "../options/convergence.js";
import { streamWithin } from "../options/stream-options.js";
import { createScreen, type Screen } from "../output.js";
import type { Beside } from "./inspect.js";

/** Passes over its memory that the guest must complete after the migration: memory that is not read back is not proved. */
const provedPasses = 2;

/** Returns the exit code. */
export async function migrateCommand(hardware: readonly string[], flags: MigrateFlags): Promise<number> {
  const limits = { bandwidthMiBps: flags.bandwidth, maxDowntimeMs: flags.maxDowntime, stallMs: flags.stall };
  const screen = createScreen(flags);
  const policy = { whenUnreachable: flags.whenUnreachable, patienceMs: flags.patience };
  const fence = await fenceOf(flags);
  let stream: StreamOptions;
  let started: { guest: RunningGuest; proof: ProofGuest | null };
  let journal: FileJournal | undefined;
  let convergence: ConvergencePolicy;
  let beside: Beside | null = null;
  try {
    checkLimits(limits);
    convergence = convergenceOf(flags);
    checkConvergencePolicy(convergence);
    checkPolicy(policy, fence !== undefined);
    stream = streamWithin(flags, flags.transport);
    checkStream(stream, flags.transport);
    if (flags.journal !== undefined) journal = await openJournal(flags.journal);
    beside = await besideOf(flags, screen);
    started = await startGuest(hardware, flags);
  } catch (error) {
    screen.warn(messageOf(error));
    await beside?.close();
    return badInputExitCode;
  }
  const { guest, proof } = started;
  screen.say(`${guest.spec.name} runs at the source (pid ${guest.process.pid})`);
  if (flags.forecast) {
    const foretold = foretell(guest, flags).catch((error: unknown) => `no forecast: ${messageOf(error)}`);
    screen.say(await foretold);
  }
  const migration = migrate({
    guest,
    limits,
    convergence,
    policy,
    stream,
    transport: flags.transport,
    ...(fence && { fence }),
    ...(journal && { journal }),
    destination: { sideArgs: proof?.nextSide("destination") ?? [] },
    ...observing(screen.observe, beside?.observe),
  });
  const stopListening = obeyInterrupts(migration, guest, screen);
  for await (const snapshot of migration.progress) screen.progress(snapshot);
  const outcome = await migration.outcome;
  stopListening();
  screen.endProgress();
  const proved = await finish(outcome, proof, screen).catch((error: unknown) => {
    screen.warn(`the proof failed: ${messageOf(error)}`);
    return false;
  });
  await outcome.guest?.end();
  await proof?.remove();
  await journal?.close();
  if (journal)
    screen.say(
      `replay it with: switchover replay ${join(journal.directory, `${migration.migrationId}.journal`)}`,
    );
  await beside
    ?.ended(migration.migrationId)
    .catch((error: unknown) => screen.warn(`the story could not be saved: ${messageOf(error)}`));
  const { exitCode } = outcomes[outcome.kind];
  return outcome.guest !== null && !proved ? notProved.exitCode : exitCode;
}

/** Loads the inspector on demand. */
async function besideOf(flags: MigrateFlags, screen: Screen): Promise<Beside | null> {
  if (flags.inspect === undefined && flags.saveStory === undefined) return null;
  const { inspectBeside } = await import("./inspect.js");
  return inspectBeside(flags, screen.say);
}

function observing(...all: readonly (Observe | undefined)[]): { readonly observe?: Observe } {
  const wanted = all.filter((observer) => observer !== undefined);
  if (wanted.length === 0) return {};
  return {
    observe: (seen) => {
      for (const observe of wanted) observe(seen);
    },
  };
}

const openJournal = (directory: string): Promise<FileJournal> =>
  openFileJournal(directory).catch((error: unknown) => {
    throw new Error(`the journal in ${directory} cannot be opened: ${messageOf(error)}`);
  });

async function startGuest(hardware: readonly string[], flags: MigrateFlags) {
  const { name, binary } = flags;
  if (hardware.length > 0) {
    const guest = await launchGuest({ name, uuid: randomUUID(), binary, args: hardware });
    return { guest, proof: null };
  }
  const proof = await launchProofGuest({
    name,
    memoryKiB: flags.memory,
    workingSetMiB: flags.workingSet,
    dirtyMiBps: flags.dirtyRate,
    binary,
  });
  return { guest: proof.guest, proof };
}

async function finish(outcome: Outcome, proof: ProofGuest | null, screen: Screen): Promise<boolean> {
  const { error, guest, downtimeMs } = outcome;
  const where = guest === null ? "" : ` (pid ${guest.process.pid})`;
  screen.outcome(outcome);
  for (const { option, why } of outcome.dropped) screen.warn(`option ${option} not applied: ${why}`);
  screen.say(`${outcomes[outcome.kind].says}${where}`);
  if (downtimeMs !== null) screen.say(`downtime ${downtimeMs.toFixed(1)} ms (QEMU timestamps)`);
  if (error !== null) {
    for (const failure of error.failures) screen.warn(describeFailure(failure));
    for (const sentence of error.undone) screen.say(`undone: ${sentence}`);
    screen.say(`next: ${error.next}`);
  }
  if (proof === null) return true;
  if (guest !== null) await proof.waitForPasses(provedPasses, 60_000);
  const report = await proof.check();
  screen.proof(report);
  screen.say(`proof: ${describeContinuity(report)}`);
  if (outcome.kind !== "arrived") return report.ok;
  const verified = report.perStream.find((stream) => stream.name === "destination")?.cyclesVerified ?? 0;
  if (verified < 1)
    screen.warn("the proof is incomplete: the destination has not read back all migrated memory");
  return report.ok && verified >= 1;
}

/** First Ctrl-C: aborts. Second: reports the state and exits, without ending a process that may run the guest. */
function obeyInterrupts(migration: Migration, guest: RunningGuest, screen: Screen): () => void {
  let interrupts = 0;
  const interrupted = async () => {
    interrupts += 1;
    if (interrupts === 1) {
      screen.say("aborting; press Ctrl-C again to exit");
      const { accepted, why } = await migration.abort();
      screen.say(accepted ? "abort accepted" : `abort refused: ${why}`);
      return;
    }
    const { source, destination } = migration.snapshot();
    screen.warn(
      `exiting; the source (pid ${guest.process.pid}) is ${source}, the destination is ${destination ?? "not started"}`,
    );
    process.exit(outcomes.undecided.exitCode);
  };
  process.on("SIGINT", interrupted);
  return () => process.off("SIGINT", interrupted);
}
