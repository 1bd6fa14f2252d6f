// The file of one migration's story, as it is begun and gone on with.

import { unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { lineOf } from "../platform/checked-lines.js";
import { JournalWriteError, syncDirectory } from "./durable.js";
import { LineFile } from "./line-file.js";
import { version } from "./records.js";

/** @throws JournalWriteError, with EEXIST when the story has begun already; nothing is left of a story that did not begin. */
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

/** Goes on with a story; `wholeBytes` is what of it is whole. */
export async function goOnWithStory(path: string, wholeBytes: number): Promise<LineFile> {
  const file = await LineFile.open(path, "a", wholeBytes);
  try {
    if (wholeBytes === 0) await file.append(lineOf({ kind: "journal", version }));
  } catch (error) {
    await file.close();
    throw error;
  }
  return file;
}
