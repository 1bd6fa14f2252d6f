// The journal on disk: a directory with one file per migration, used by one engine at a time. Upholds G3's write-ahead rule:
// a record is durable when `append` resolves.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Ids } from "../../effects/ports.js";
import { systemIds } from "../platform/clock.js";
import { lock } from "../platform/file-lock.js";
import { Decisions } from "./decisions.js";
import { syncDirectory } from "./durable.js";
import { openIdentity } from "./identity.js";
import { JournalDirectory } from "./journal-directory.js";
import type { FileJournal } from "./types.js";

/**
 * @throws Error when the directory cannot be created or written, or another process has it open; JournalError when it is of a
 * newer version, or damaged beyond a single story.
 */
export async function openFileJournal(
  directory: string,
  { mustExist = false, ids = systemIds }: { readonly mustExist?: boolean; readonly ids?: Ids } = {},
): Promise<FileJournal> {
  if (!mustExist) await mkdir(directory, { recursive: true, mode: 0o700 });
  await syncDirectory(directory);
  const unlock = await lock(directory);
  try {
    const identity = await openIdentity(directory, () => ids.next());
    const decisions = await Decisions.open(join(directory, "decisions"));
    const journal = new JournalDirectory({ directory, identity, decisions, unlock });
    await journal.scan();
    return journal;
  } catch (error) {
    await unlock();
    throw error;
  }
}
