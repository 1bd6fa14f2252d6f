// The log of a guest's QEMUs on this host, which outlives them: how each was started, what it wrote to stderr, how it
// ended and why. Bounded: a full file is kept once as `.1`, and the one before it is dropped.

import { createHash } from "node:crypto";
import { appendFile, mkdir, rename, stat } from "node:fs/promises";
import { dirname, join } from "node:path";

const fullBytes = 1024 * 1024;
/** Beyond this many bytes of a name (NAME_MAX is 255), a digest tells names apart. */
const maxNameLength = 180;

/** Returns a file name that is safe for any name of a guest; no two names share one. */
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

  /** Resolves when the lines are in the file, or cannot be: a log that cannot be written does not harm the guest. */
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

/** A guest or a client chooses parts of it: a control character must not reach a terminal. */
const printable = (line: string): string =>
  line.replace(/\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`);

/** A command line as a shell would read it. */
export const asShell = (words: readonly string[]): string =>
  words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(" ");
