// QEMU's last words: it writes its stderr to a file, which outlives us, and of which the end says why it died.

import { open } from "node:fs/promises";
import { join } from "node:path";

const keptLines = 12;
const keptBytes = 8 * 1024;

export const wordsIn = (directory: string): string => join(directory, "stderr");

/** The last lines, without empty ones; none when the file is not there. */
export async function lastWords(directory: string): Promise<readonly string[]> {
  try {
    await using file = await open(wordsIn(directory));
    const { size } = await file.stat();
    const bytes = Buffer.alloc(Math.min(size, keptBytes));
    await file.read(bytes, 0, bytes.length, size - bytes.length);
    const lines = bytes.toString().split("\n");
    return lines
      .map((it) => it.trim())
      .filter((it) => it !== "")
      .slice(-keptLines);
  } catch {
    return [];
  }
}
