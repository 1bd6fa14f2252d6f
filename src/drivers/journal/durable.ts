// Writes to a directory that survive a crash of the machine; a failed write is reported as a typed error.

import { open, readFile, rename, unlink } from "node:fs/promises";
import { messageOf } from "../../protocol/effect-result.js";
import { hasCode } from "../platform/error-code.js";

/** The journal cannot be read: it is not a switchover journal, of another version, or damaged before its end. */
export class JournalError extends Error {
  override readonly name: string = "JournalError";
}

/** The record is not durable and will not become so: the write failed, and its written part was truncated. */
export class JournalWriteError extends JournalError {
  override readonly name = "JournalWriteError";
  readonly kind: "diskFull" | "failed";
  readonly path: string;

  constructor(path: string, cause: unknown) {
    super(`cannot write ${path}: ${messageOf(cause)}`, { cause });
    this.path = path;
    this.kind = ["ENOSPC", "EDQUOT"].some((code) => hasCode(cause, code)) ? "diskFull" : "failed";
  }
}

/** Returns null when the file does not exist. */
export async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return null;
    throw error;
  }
}

/** Creates or replaces a small file; after a crash the file contains either the old or the new text, complete. */
export async function writeWhole(directory: string, path: string, text: string): Promise<void> {
  const unfinished = `${path}.new`;
  try {
    const handle = await open(unfinished, "w", 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(unfinished, path);
    await syncDirectory(directory);
  } catch (error) {
    await unlink(unfinished).catch(() => {});
    throw new JournalWriteError(path, error);
  }
}

export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
