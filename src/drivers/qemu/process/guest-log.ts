// The log of a guest's QEMUs on this host, which outlives them: how each one was started, what it wrote to stderr,
// how it ended and why. Bounded: a full file is renamed to `.1`, and the previous `.1` is deleted.

import { createHash } from "node:crypto";
import { appendFile, mkdir, rename, stat } from "node:fs/promises";
import { dirname, join } from "node:path";

const fullBytes = 1024 * 1024;
/** Longer names (NAME_MAX is 255 bytes) are told apart by a digest. */
const maxNameLength = 180;

/** Returns a safe and unique file name for any guest name. */
export function logFileOf(name: string): string {
  const safe = [...Buffer.from(name)]
    .map((byte, index) => {
      const character = String.fromCharCode(byte);
      const isSafe = /[\w+-]/.test(character) || (character === "." && index > 0);
      return isSafe ? character : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
    })
    .join("");
  if (safe.length <= maxNameLength) return `${safe}.log`;
  return `${safe.slice(0, maxNameLength)}~${createHash("sha256").update(name).digest("hex").slice(0, 16)}.log`;
}

export class GuestLog {
  readonly path: string;
  #written: Promise<void> = Promise.resolve();

  constructor(directory: string, name: string) {
    this.path = join(directory, logFileOf(name));
  }

  /** Resolves when the lines are in the file, or cannot be written: a failing log does not affect the guest. */
  write(atMs: number, ...lines: readonly string[]): Promise<void> {
    const stamp = new Date(atMs).toISOString();
    const text = lines.map((line) => `${stamp}: ${printable(line)}\n`).join("");
    this.#written = this.#written.then(() => this.#append(text)).catch(() => {});
    return this.#written;
  }

  async #append(text: string): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true, mode: 0o700 });
    const size = await stat(this.path).then(
      (stats) => stats.size,
      () => 0,
    );
    if (size > 0 && size + Buffer.byteLength(text) > fullBytes) await rename(this.path, `${this.path}.1`);
    await appendFile(this.path, text, { mode: 0o600 });
  }
}

/** The guest or a client controls parts of a line: control characters must not reach a terminal. */
const printable = (line: string): string =>
  line.replace(/\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`);

/** Returns a command line quoted for a shell. */
export const asShell = (words: readonly string[]): string =>
  words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(" ");
