// The file of one migration's story, open for writing. A record is durable when `append` resolves; what cannot be written
// whole is taken back, so that only a crash leaves a torn end.

import { type FileHandle, open } from "node:fs/promises";
import type { JournalRecord } from "../../effects/ports.js";
import { lineOf } from "./lines.js";
import { version } from "./records.js";

export class StoryFile {
  readonly #file: FileHandle;
  #length: number;
  /** Lines that come while one is being written go together in the next write. */
  #waiting: { line: string; resolve: () => void; reject: (error: unknown) => void }[] = [];
  #writing = false;

  private constructor(file: FileHandle, length: number) {
    this.#file = file;
    this.#length = length;
  }

  /** @throws an error of the file system, EEXIST when the story has begun already. */
  static async begin(path: string): Promise<StoryFile> {
    const file = new StoryFile(await open(path, "ax", 0o600), 0);
    await file.#write([lineOf({ kind: "journal", version })]);
    return file;
  }

  /** Goes on with a story after a crash; `length` is what of it is whole, in bytes. */
  static async goOn(path: string, length: number): Promise<StoryFile> {
    const file = await open(path, "a", 0o600);
    await file.truncate(length);
    const story = new StoryFile(file, length);
    if (length === 0) await story.#write([lineOf({ kind: "journal", version })]);
    return story;
  }

  append(record: JournalRecord): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ line: lineOf(record), resolve, reject });
      void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    while (this.#waiting.length > 0) {
      const now = this.#waiting;
      this.#waiting = [];
      try {
        await this.#write(now.map((it) => it.line));
        for (const it of now) it.resolve();
      } catch (error) {
        for (const it of now) it.reject(error);
      }
    }
    this.#writing = false;
  }

  async #write(lines: readonly string[]): Promise<void> {
    const bytes = Buffer.from(lines.join(""));
    try {
      await this.#file.appendFile(bytes);
      await this.#file.datasync();
    } catch (error) {
      await this.#file.truncate(this.#length);
      throw error;
    }
    this.#length += bytes.length;
  }

  /** Whether every record that was given is written. */
  get isIdle(): boolean {
    return !this.#writing && this.#waiting.length === 0;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
