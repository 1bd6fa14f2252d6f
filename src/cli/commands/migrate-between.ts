// `switchover migrate --from … --to …`: moves a guest between two hosts, shows it, and says who runs it.

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

/** The exit code. */
export async function migrateBetweenCommand(
  hardware: readonly string[],
  words: MigrateFlags,
): Promise<number> {
  const screen = createScreen(words);
  let migration: RemoteMigration;
  let journal: FileJournal | undefined;
  try {
    const where = placesOf(hardware, words);
    checkSteering(words);
    if (words.journal !== undefined) journal = await openFileJournal(words.journal);
    migration = await migrateBetween({
      ...where,
      ...(await askedOf(words)),
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
  steer(migration, words, screen);
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
  screen.say(words.offline && kind === "arrived" ? definitionMoved : outcomes[kind].says);
  if (error !== null) {
    for (const failure of error.failures) screen.warn(describeFailure(failure));
    screen.say(`next: ${error.next}`);
  }
  await journal?.close();
  return outcomes[kind].exitCode;
}

/** @throws Error naming what is missing. */
function placesOf(hardware: readonly string[], words: MigrateFlags) {
  const { from, to, domain } = words;
  if (hardware.length > 0)
    throw new Error(`between hosts a guest has its hardware already: ${hardware.join(" ")}`);
  askedBetween(words);
  if (from === undefined || to === undefined || domain === undefined)
    throw new Error("between hosts, --from, --to and --domain are all needed");
  return { from, to, domain };
}

/** @throws Error when a file cannot be read. */
async function askedOf(
  words: MigrateFlags,
): Promise<{ flags: MigrateFlag[]; parameters: MigrateParameters }> {
  const asked = new Map(askedBetween(words));
  if (words.bandwidth !== 0) asked.set("bandwidth", words.bandwidth);
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

/** First Ctrl-C: abort. Second: go; each host settles by itself. */
function obeyInterrupts(migration: RemoteMigration, screen: Screen): () => void {
  let interrupts = 0;
  const interrupted = async () => {
    interrupts += 1;
    if (interrupts > 1) {
      screen.warn("left as it is: the hosts settle it between them");
      process.exit(outcomes.undecided.exitCode);
    }
    screen.say("aborting; Ctrl-C again leaves");
    const { accepted, why } = await migration.abort();
    screen.say(accepted ? "the abort is obeyed" : `the abort is refused: ${why}`);
  };
  process.on("SIGINT", interrupted);
  return () => process.off("SIGINT", interrupted);
}
