// Crash-safe store of small files (temporary file, fsync, rename): after a crash a file is complete or absent.

import { mkdir, open, readdir, readFile, rename, unlink } from "node:fs/promises";
import { join } from "node:path";

const isAbsent = (error: unknown): boolean =>
  error instanceof Error && "code" in error && error.code === "ENOENT";

export class FileStore {
  readonly #directory: string;
  readonly #suffix: string;
  /** The last change of each key, which serializes the changes of one file. */
  readonly #changing = new Map<string, Promise<void>>();

  private constructor(directory: string, suffix: string) {
    this.#directory = directory;
    this.#suffix = suffix;
  }

  static async open(directory: string, suffix: string): Promise<FileStore> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    return new FileStore(directory, suffix);
  }

  async readAll(): Promise<Map<string, string>> {
    const names = (await readdir(this.#directory)).filter((file) => file.endsWith(this.#suffix));
    const read = names.map(
      async (name) =>
        [name.slice(0, -this.#suffix.length), await readFile(join(this.#directory, name), "utf8")] as const,
    );
    return new Map(await Promise.all(read));
  }

  /** Returns undefined when the file does not exist. */
  async read(key: string): Promise<string | undefined> {
    try {
      return await readFile(this.#path(key), "utf8");
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  /** Writes the file; durable when it resolves. Changes of one key are applied in the order of the calls. */
  write = (key: string, text: string): Promise<void> => this.#inOrder(key, () => this.#write(key, text));

  /** Removes the file; has no effect when it does not exist. */
  remove = (key: string): Promise<void> => this.#inOrder(key, () => this.#remove(key));

  async #inOrder(key: string, change: () => Promise<void>): Promise<void> {
    const before = this.#changing.get(key) ?? Promise.resolve();
    const mine = before.catch(() => {}).then(change);
    this.#changing.set(key, mine);
    try {
      await mine;
    } finally {
      if (this.#changing.get(key) === mine) this.#changing.delete(key);
    }
  }

  async #write(key: string, text: string): Promise<void> {
    const path = this.#path(key);
    const handle = await open(`${path}.new`, "w", 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(`${path}.new`, path);
    await this.#sync();
  }

  async #remove(key: string): Promise<void> {
    try {
      await unlink(this.#path(key));
    } catch (error) {
      if (!isAbsent(error)) throw error;
    }
    await this.#sync();
  }

  #path = (key: string): string => join(this.#directory, `${key}${this.#suffix}`);

  async #sync(): Promise<void> {
    const handle = await open(this.#directory, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}
