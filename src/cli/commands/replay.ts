// `switchover replay`: prints the story of a past migration from its journal alone.

import { JournalError, readStory, type Story } from "../../drivers/journal/story.js";
import { messageOf } from "../../protocol/effect-result.js";
import { tell } from "../format-record.js";
import { badInputExitCode } from "../options/command-options.js";
import { say, sayJson, warn } from "../print.js";

/** Returns the exit code. */
export async function replayCommand(path: string, { json }: { json?: true }): Promise<number> {
  let story: Story;
  try {
    story = await readStory(path);
  } catch (error) {
    const what =
      error instanceof JournalError ? error.message : `${path} cannot be read: ${messageOf(error)}`;
    warn(what);
    return badInputExitCode;
  }
  const { records, torn } = story;
  const [first] = records;
  if (json !== true && first !== undefined)
    say(`migration ${first.migrationId}, ${new Date(first.atMs).toISOString()}`);
  for (const record of records) {
    if (json === true) sayJson(record);
    else for (const line of tell(record, first?.atMs ?? record.atMs)) say(line);
  }
  if (torn !== null) warn("the last line is incomplete; no effect that depends on it had started");
  return 0;
}
