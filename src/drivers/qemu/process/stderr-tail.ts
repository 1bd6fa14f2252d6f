// Tail of QEMU's stderr, kept for error reports: QEMU writes it to a file, which outlives this process.

import { open } from "node:fs/promises";
import { join } from "node:path";

const kept = { lines: 12, bytes: 8 * 1024 };
/** Limits for a log, which has more room than an error. */
export const loggedTail = { lines: 1_000, bytes: 64 * 1024 };

export const wordsIn = (directory: string): string => join(directory, "stderr");

/** Returns the last lines, without empty ones; none when the file does not exist. */
export async function stderrTail(
  directory: string,
  { lines: maxLines, bytes: maxBytes } = kept,
): Promise<readonly string[]> {
  try {
    await using file = await open(wordsIn(directory));
    const { size } = await file.stat();
    const bytes = Buffer.alloc(Math.min(size, maxBytes));
    await file.read(bytes, 0, bytes.length, size - bytes.length);
    const lines = bytes.toString().split("\n");
    return lines
      .map((line) => line.trim())
      .filter((line) => line !== "")
      .slice(-maxLines);
  } catch {
    return [];
  }
}
