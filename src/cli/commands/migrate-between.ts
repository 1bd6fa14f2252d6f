// `switchover migrate --from … --to …`: moves a guest between two hosts, shows it, and says who runs it.

import { readFile } from "node:fs/promises";
import { openFileJournal } from "../../drivers/journal/file-journal.js";
import type { FileJournal } from "../../drivers/journal/types.js";
import type { MigrateFlag, MigrateParameters } from "../../drivers/libvirt/client/flags.js";
import { migrateBetween, type RemoteMigration } from "../../library/remote/migrate-between.js";
import { forecast, noCourse, observe } from "../../protocol/convergence/forecast.js";
import { defaultLimits } from "../../protocol/convergence/limits.js";
import { messageOf } from "../../protocol/effect-result.js";
import { describeFailure } from "../../protocol/failure.js";
import { outcomes } from "../../protocol/outcomes.js";
import { badInputExitCode, type MigrateWords } from "../options/command-options.js";
import { streamBetween } from "../options/stream-options.js";
import { createScreen, type Screen } from "../output.js";
import { checkSteering, steer } from "../timed-actions.js";

const progressEveryMs = 200;
const definitionMoved = "the definition is at the destination";

/** The exit code. */
export async function migrateBetweenCommand(
  hardware: readonly string[],
  words: MigrateWords,
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
      flags: flagsOf(words),
      parameters: await parametersOf(words),
      ...(screen.observe && { observe: screen.observe }),
      ...(journal && { journal }),
    });
  } catch (error) {
    screen.complain(messageOf(error));
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
    pauseMs: null,
    qemuTotalMs: null,
    dropped: [],
  });
  screen.say(words.offline && kind === "arrived" ? definitionMoved : outcomes[kind].says);
  if (error !== null) {
    for (const it of error.failures) screen.complain(describeFailure(it));
    screen.say(`next: ${error.next}`);
  }
  await journal?.close();
  return outcomes[kind].exitCode;
}

/** @throws Error naming what is missing. */
function placesOf(hardware: readonly string[], words: MigrateWords) {
  const { from, to, domain } = words;
  if (hardware.length > 0)
    throw new Error(`between hosts a guest has its hardware already: ${hardware.join(" ")}`);
  streamBetween(words);
  if (from === undefined || to === undefined || domain === undefined)
    throw new Error("between hosts, --from, --to and --domain are all needed");
  return { from, to, domain };
}

function flagsOf(words: MigrateWords): MigrateFlag[] {
  const flags: readonly (readonly [MigrateFlag, true | undefined])[] = [
    ["PEER2PEER", words.p2p],
    ["TUNNELLED", words.tunnelled],
    ["OFFLINE", words.offline],
    ["NON_SHARED_DISK", words.copyStorageAll],
    ["NON_SHARED_INC", words.copyStorageInc],
    ["NON_SHARED_SYNCHRONOUS_WRITES", words.copyStorageSynchronousWrites],
    ["UNSAFE", words.unsafe],
    ["ABORT_ON_ERROR", words.abortOnError],
    ["PERSIST_DEST", words.persistent],
    ["UNDEFINE_SOURCE", words.undefineSource],
    ["PAUSED", words.suspend],
  ];
  return [
    ...(words.offline ? [] : (["LIVE"] as const)),
    ...flags.flatMap(([flag, said]) => (said ? [flag] : [])),
    ...streamBetween(words).flags,
  ];
}

/** @throws Error when the XML cannot be read. */
async function parametersOf(words: MigrateWords): Promise<MigrateParameters> {
  const { migrateUri, destinationName, xml, persistentXml, listenAddress, bandwidth } = words;
  const { migrateDisks, disksPort, disksUri } = words;
  return {
    ...streamBetween(words).parameters,
    ...(migrateUri !== undefined && { uri: migrateUri }),
    ...(destinationName !== undefined && { name: destinationName }),
    ...(bandwidth !== 0 && { bandwidthMiBps: bandwidth }),
    ...(listenAddress !== undefined && { listenAddress }),
    ...(migrateDisks !== undefined && { disks: migrateDisks }),
    ...(disksPort !== undefined && { disksPort }),
    ...(disksUri !== undefined && { disksUri }),
    ...(xml !== undefined && { xml: await readFile(xml, "utf8") }),
    ...(persistentXml !== undefined && { persistentXml: await readFile(persistentXml, "utf8") }),
  };
}

function showProgress(migration: RemoteMigration, screen: Screen): () => void {
  let ended = false;
  let course = noCourse;
  const show = async () => {
    while (!ended) {
      const progress = await migration.progress();
      if (progress !== null && !ended) {
        course = observe(course, progress);
        const expected = forecast(course, defaultLimits);
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
      screen.complain("left as it is: the hosts settle it between them");
      process.exit(outcomes.undecided.exitCode);
    }
    screen.say("aborting; Ctrl-C again leaves");
    const { accepted, why } = await migration.abort();
    screen.say(accepted ? "the abort is obeyed" : `the abort is refused: ${why}`);
  };
  process.on("SIGINT", interrupted);
  return () => process.off("SIGINT", interrupted);
}
