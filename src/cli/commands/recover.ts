// `switchover recover`: finishes the migrations that an engine left in its journal, and reports which side runs each guest.
// The guests keep running.

import { openFileJournal } from "../../drivers/journal/file-journal.js";
import type { FileJournal } from "../../drivers/journal/types.js";
import { recoverMigrations } from "../../library/local/recover.js";
import { messageOf } from "../../protocol/effect-result.js";
import { describeFailure } from "../../protocol/failure.js";
import { outcomes } from "../../protocol/outcomes.js";
import { badInputExitCode, fenceOf, type RecoverFlags } from "../options/command-options.js";
import { createScreen } from "../output.js";

/** Returns the highest exit code of the migrations. */
export async function recoverCommand(directory: string, flags: RecoverFlags): Promise<number> {
  const screen = createScreen(flags);
  let journal: FileJournal;
  try {
    journal = await openFileJournal(directory, { mustExist: true });
  } catch (error) {
    screen.warn(`the journal in ${directory} cannot be opened: ${messageOf(error)}`);
    return badInputExitCode;
  }
  const fence = await fenceOf(flags);
  const { migrations, failed } = await recoverMigrations({
    journal,
    ...(screen.observe && { observe: screen.observe }),
    ...(fence && { fence }),
  });
  for (const error of failed) screen.warn(error.message);
  if (migrations.length === 0 && failed.length === 0)
    screen.say(`no migration in ${directory} needs recovery`);
  const ended = await Promise.all(
    migrations.map(async ({ migrationId, outcome }) => {
      const { kind, guest, error } = await outcome;
      screen.outcome(await outcome);
      const where = guest === null ? "" : ` (pid ${guest.process.pid})`;
      screen.say(`migration ${migrationId}: ${outcomes[kind].says}${where}`);
      for (const failure of error?.failures ?? []) screen.warn(describeFailure(failure));
      if (error !== null) screen.say(`next: ${error.next}`);
      guest?.release();
      return outcomes[kind].exitCode;
    }),
  );
  await journal.close();
  return Math.max(0, failed.length > 0 ? outcomes.undecided.exitCode : 0, ...ended);
}
