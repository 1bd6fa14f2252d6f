// Writes to a directory that survive a crash of the machine, and reports what the disk refused as a typed error.

import { open, readFile, rename, unlink } from "node:fs/promises";
import { messageOf } from "../../protocol/effect-result.js";
import { hasCode } from "../platform/error-code.js";

/** A journal that cannot be read: not ours, of another version, or damaged before its end. */
export class JournalError extends Error {
  override readonly name: string = "JournalError";
}

/** A record that is not durable and will not become so: the write failed, and what was written of it is taken back. */
export class JournalWriteError extends JournalError {
  override readonly name = "JournalWriteError";
  readonly kind: "diskFull" | "failed";
  readonly path: string;

  constructor(path: string, cause: unknown) {
    super(`${path} cannot be written: ${messageOf(cause)}`, { cause });
    this.path = path;
    this.kind = ["ENOSPC", "EDQUOT"].some((code) => hasCode(cause, code)) ? "diskFull" : "failed";
  }
}

/** Null when the file does not exist. */
export async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return null;
    throw error;
  }
}

/** Creates or replaces a small file; after a crash the file holds the old text or the new one, whole. */
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
