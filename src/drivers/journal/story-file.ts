// Creates and reopens the file of one migration's story.

import { unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { lineOf } from "../platform/checked-lines.js";
import { JournalWriteError, syncDirectory } from "./durable.js";
import { LineFile } from "./line-file.js";
import { version } from "./records.js";

/** Creates the file. @throws JournalWriteError, with EEXIST when the story exists; a failed creation leaves no file. */
export async function beginStory(path: string): Promise<LineFile> {
  const file = await LineFile.open(path, "ax", 0);
  try {
    await file.append(lineOf({ kind: "journal", version }));
    await syncDirectory(dirname(path));
  } catch (error) {
    await file.close();
    await unlink(path).catch(() => {});
    throw error instanceof JournalWriteError ? error : new JournalWriteError(path, error);
  }
  return file;
}

/**
 * Reopens a story; `wholeBytes` is the length of its intact part, `written` the version of its last records. Older versions of
 * switchover refuse the story from then on.
 */
export async function goOnWithStory(path: string, wholeBytes: number, written: number): Promise<LineFile> {
  const file = await LineFile.open(path, "a", wholeBytes);
  try {
    if (wholeBytes === 0 || written < version) await file.append(lineOf({ kind: "journal", version }));
  } catch (error) {
    await file.close();
    throw error;
  }
  return file;
}
