// `switchover migrate`: boots the guest, moves it, shows it, proves it, ends it. Everything it starts it ends.

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

/** Passes over its memory that the guest must make after the move: what is never read again is not proved. */
const provedPasses = 2;

/** The exit code. */
export async function migrateCommand(hardware: readonly string[], words: MigrateFlags): Promise<number> {
  const limits = { bandwidthMiBps: words.bandwidth, maxDowntimeMs: words.maxDowntime, stallMs: words.stall };
  const screen = createScreen(words);
  const policy = { whenUnreachable: words.whenUnreachable, patienceMs: words.patience };
  const fence = await fenceOf(words);
  let stream: StreamOptions;
  let started: { guest: RunningGuest; proof: ProofGuest | null };
  let journal: FileJournal | undefined;
  let convergence: ConvergencePolicy;
  let beside: Beside | null = null;
  try {
    checkLimits(limits);
    convergence = convergenceOf(words);
    checkConvergencePolicy(convergence);
    checkPolicy(policy, fence !== undefined);
    stream = streamWithin(words, words.transport);
    checkStream(stream, words.transport);
    if (words.journal !== undefined) journal = await openJournal(words.journal);
    beside = await besideOf(words, screen);
    started = await startGuest(hardware, words);
  } catch (error) {
    screen.warn(messageOf(error));
    await beside?.close();
    return badInputExitCode;
  }
  const { guest, proof } = started;
  screen.say(`${guest.spec.name} runs at the source (pid ${guest.process.pid})`);
  if (words.forecast) {
    const foretold = foretell(guest, words).catch((error: unknown) => `no forecast: ${messageOf(error)}`);
    screen.say(await foretold);
  }
  const migration = migrate({
    guest,
    limits,
    convergence,
    policy,
    stream,
    transport: words.transport,
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
    screen.say(`its story: switchover replay ${join(journal.directory, `${migration.migrationId}.journal`)}`);
  await beside
    ?.ended(migration.migrationId)
    .catch((error: unknown) => screen.warn(`the story is not saved: ${messageOf(error)}`));
  const { exitCode } = outcomes[outcome.kind];
  return outcome.guest !== null && !proved ? notProved.exitCode : exitCode;
}

/** Loaded only when it is wanted. */
async function besideOf(words: MigrateFlags, screen: Screen): Promise<Beside | null> {
  if (words.inspect === undefined && words.saveStory === undefined) return null;
  const { inspectBeside } = await import("./inspect.js");
  return inspectBeside(words, screen.say);
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
    throw new Error(`the journal cannot be kept in ${directory}: ${messageOf(error)}`);
  });

async function startGuest(hardware: readonly string[], words: MigrateFlags) {
  const { name, binary } = words;
  if (hardware.length > 0) {
    const guest = await launchGuest({ name, uuid: randomUUID(), binary, args: hardware });
    return { guest, proof: null };
  }
  const proof = await launchProofGuest({
    name,
    memoryKiB: words.memory,
    workingSetMiB: words.workingSet,
    dirtyMiBps: words.dirtyRate,
    binary,
  });
  return { guest: proof.guest, proof };
}

async function finish(outcome: Outcome, proof: ProofGuest | null, screen: Screen): Promise<boolean> {
  const { error, guest, downtimeMs } = outcome;
  const where = guest === null ? "" : ` (pid ${guest.process.pid})`;
  screen.outcome(outcome);
  for (const { option, why } of outcome.dropped) screen.warn(`went without ${option}: ${why}`);
  screen.say(`${outcomes[outcome.kind].says}${where}`);
  if (downtimeMs !== null) screen.say(`it paused for ${downtimeMs.toFixed(1)} ms, by QEMU's own clocks`);
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
  const there = report.perStream.find((candidate) => candidate.name === "destination")?.cyclesVerified ?? 0;
  if (there < 1)
    screen.warn("the proof is not whole: the destination has not read back all memory that travelled");
  return report.ok && there >= 1;
}

/** First Ctrl-C: abort. Second: say what is left, and go without ending anything that may run the guest. */
function obeyInterrupts(migration: Migration, guest: RunningGuest, screen: Screen): () => void {
  let interrupts = 0;
  const interrupted = async () => {
    interrupts += 1;
    if (interrupts === 1) {
      screen.say("aborting; Ctrl-C again says what is left");
      const { accepted, why } = await migration.abort();
      screen.say(accepted ? "the abort is obeyed" : `the abort is refused: ${why}`);
      return;
    }
    const { source, destination } = migration.snapshot();
    screen.warn(
      `left as they are: the source (pid ${guest.process.pid}) is ${source}, the destination is ${destination ?? "not started"}`,
    );
    process.exit(outcomes.undecided.exitCode);
  };
  process.on("SIGINT", interrupted);
  return () => process.off("SIGINT", interrupted);
}
