// `switchover migrate --from … --to …`: migrates a guest between two hosts, shows the progress, and reports who runs it.

import { readFile } from "node:fs/promises";
import { openFileJournal } from "../../drivers/journal/file-journal.js";
import type { FileJournal } from "../../drivers/journal/types.js";
import { migrateBetween, type RemoteMigration } from "../../library/remote/migrate-between.js";
import { addReport, emptyHistory, forecast } from "../../protocol/convergence/forecast.js";
import { defaultLimits } from "../../protocol/convergence/limits.js";
import { messageOf } from "../../protocol/effect-result.js";
import { describeFailure } from "../../protocol/failure.js";
import { libvirtOf } from "../../protocol/options/asked.js";
import { type MigrateFlag, type MigrateParameters, optionRows } from "../../protocol/options/table.js";
import { outcomes } from "../../protocol/outcomes.js";
import { badInputExitCode, type MigrateFlags } from "../options/command-options.js";
import { askedBetween } from "../options/stream-options.js";
import { createScreen, type Screen } from "../output.js";
import { checkSteering, steer } from "../timed-actions.js";

const progressEveryMs = 200;
const definitionMoved = "the definition is at the destination";

/** Returns the exit code. */
export async function migrateBetweenCommand(
  hardware: readonly string[],
  flags: MigrateFlags,
): Promise<number> {
  const screen = createScreen(flags);
  let migration: RemoteMigration;
  let journal: FileJournal | undefined;
  try {
    const where = placesOf(hardware, flags);
    checkSteering(flags);
    if (flags.journal !== undefined) journal = await openFileJournal(flags.journal);
    migration = await migrateBetween({
      ...where,
      ...(await askedOf(flags)),
      ...(screen.observe && { observe: screen.observe }),
      ...(journal && { journal }),
    });
  } catch (error) {
    screen.warn(messageOf(error));
    await journal?.close();
    return badInputExitCode;
  }
  const stopListening = obeyInterrupts(migration, screen);
  const stopShowing = showProgress(migration, screen);
  steer(migration, flags, screen);
  const { kind, error } = await migration.outcome;
  stopShowing();
  stopListening();
  screen.endProgress();
  screen.outcome({
    kind,
    runs: outcomes[kind].runs,
    guest: null,
    error,
    downtimeMs: null,
    qemuTotalMs: null,
    dropped: [],
  });
  screen.say(flags.offline && kind === "arrived" ? definitionMoved : outcomes[kind].says);
  if (error !== null) {
    for (const failure of error.failures) screen.warn(describeFailure(failure));
    screen.say(`next: ${error.next}`);
  }
  await journal?.close();
  return outcomes[kind].exitCode;
}

/** @throws Error naming the missing or superfluous option. */
function placesOf(hardware: readonly string[], flags: MigrateFlags) {
  const { from, to, domain } = flags;
  if (hardware.length > 0)
    throw new Error(
      `QEMU arguments cannot be given between hosts, where the guest is already defined: ${hardware.join(" ")}; leave them out`,
    );
  askedBetween(flags);
  if (from === undefined || to === undefined || domain === undefined)
    throw new Error("a migration between hosts requires --from, --to and --domain");
  return { from, to, domain };
}

/** @throws Error when a file cannot be read. */
async function askedOf(
  flags: MigrateFlags,
): Promise<{ flags: MigrateFlag[]; parameters: MigrateParameters }> {
  const asked = new Map(askedBetween(flags));
  if (flags.bandwidth !== 0) asked.set("bandwidth", flags.bandwidth);
  for (const { name, type } of optionRows) {
    const path = asked.get(name);
    if (type.kind === "file" && typeof path === "string") asked.set(name, await readFile(path, "utf8"));
  }
  return libvirtOf(asked);
}

function showProgress(migration: RemoteMigration, screen: Screen): () => void {
  let ended = false;
  let history = emptyHistory;
  const show = async () => {
    while (!ended) {
      const progress = await migration.progress();
      if (progress !== null && !ended) {
        history = addReport(history, progress);
        const expected = forecast(history, defaultLimits);
        screen.progress({ source: "sending", destination: null, progress, forecast: expected });
      }
      await new Promise((resolve) => setTimeout(resolve, progressEveryMs));
    }
  };
  void show();
  return () => {
    ended = true;
  };
}

/** First Ctrl-C: aborts. Second: exits; the hosts settle the migration between them. */
function obeyInterrupts(migration: RemoteMigration, screen: Screen): () => void {
  let interrupts = 0;
  const interrupted = async () => {
    interrupts += 1;
    if (interrupts > 1) {
      screen.warn("exiting; the hosts settle the migration between them");
      process.exit(outcomes.undecided.exitCode);
    }
    screen.say("aborting; press Ctrl-C again to exit");
    const { accepted, why } = await migration.abort();
    screen.say(accepted ? "abort accepted" : `abort refused: ${why}`);
  };
  process.on("SIGINT", interrupted);
  return () => process.off("SIGINT", interrupted);
}
