// A file of lines that is open for appending. A line is durable when `append` resolves; what cannot be written whole is
// taken back, so that only a crash leaves a torn end. Upholds G3's write-ahead rule.

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
  /** What of the file is durable, in bytes. */
  #length: number;
  /** Whether bytes of a failed write may stand behind `#length`. */
  #isDirty = false;
  /** Lines that come while others are being written go together in the next write. */
  #waiting: Waiting[] = [];
  #writing = false;

  private constructor(path: string, file: FileHandle, length: number) {
    this.#path = path;
    this.#file = file;
    this.#length = length;
  }

  /** Opens the file to append behind its first `length` bytes; the rest is cut off. `flags` as of open(2). */
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

  /** @throws JournalWriteError when the line is not durable; then no line that was given after it is durable either. */
  append(line: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ line, resolve, reject });
      void this.#drain();
    });
  }

  /** Whether every line that was given is written. */
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
        // What was given after it was written in the belief that it would be durable.
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
      // When this fails too, the next write tries again before it writes.
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
