// A file of lines, open for appending. A line is durable when `append` resolves; an incomplete write is truncated, so that
// only a crash leaves a torn end. Upholds G3's write-ahead rule.

import { type FileHandle, open } from "node:fs/promises";
import { JournalWriteError } from "./durable.js";

interface Waiting {
  readonly line: string;
  readonly resolve: () => void;
  readonly reject: (error: JournalWriteError) => void;
}

export class LineFile {
  readonly #path: string;
  readonly #file: FileHandle;
  /** Length of the durable part, in bytes. */
  #length: number;
  /** Whether bytes of a failed write may follow after `#length`. */
  #isDirty = false;
  /** Lines that arrive during a write; the next write takes them together. */
  #waiting: Waiting[] = [];
  #writing = false;

  private constructor(path: string, file: FileHandle, length: number) {
    this.#path = path;
    this.#file = file;
    this.#length = length;
  }

  /** Opens the file and truncates it to `length` bytes. `flags` are those of fs.open. */
  static async open(path: string, flags: "a" | "ax", length: number): Promise<LineFile> {
    try {
      const file = await open(path, flags, 0o600);
      try {
        if (flags === "a") await file.truncate(length);
      } catch (error) {
        await file.close();
        throw error;
      }
      return new LineFile(path, file, length);
    } catch (error) {
      throw new JournalWriteError(path, error);
    }
  }

  /** @throws JournalWriteError when the line is not durable; lines given after it are then not durable either. */
  append(line: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ line, resolve, reject });
      void this.#drain();
    });
  }

  /** Whether every line has been written. */
  get isIdle(): boolean {
    return !this.#writing && this.#waiting.length === 0;
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  async #drain(): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    while (this.#waiting.length > 0) {
      const now = this.#waiting;
      this.#waiting = [];
      try {
        await this.#write(now.map(({ line }) => line).join(""));
        for (const { resolve } of now) resolve();
      } catch (cause) {
        // Later lines also fail: their callers relied on this line being durable.
        const behind = this.#waiting;
        this.#waiting = [];
        const error = new JournalWriteError(this.#path, cause);
        for (const { reject } of [...now, ...behind]) reject(error);
      }
    }
    this.#writing = false;
  }

  async #write(text: string): Promise<void> {
    const bytes = Buffer.from(text);
    if (this.#isDirty) await this.#takeBack();
    try {
      await this.#file.appendFile(bytes);
      await this.#file.datasync();
    } catch (error) {
      this.#isDirty = true;
      // When truncating fails too, the next write retries it first.
      await this.#takeBack().catch(() => {});
      throw error;
    }
    this.#length += bytes.length;
  }

  async #takeBack(): Promise<void> {
    await this.#file.truncate(this.#length);
    await this.#file.datasync();
    this.#isDirty = false;
  }
}
