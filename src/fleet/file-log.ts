// The embedded engine: drains in a directory of one machine, each a file of events, held by one process at a time. A record is
// durable when `append` resolves; a torn end was never acted on.

import { mkdir, open, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { entryOf, lineOf } from "../drivers/journal/lines.js";
import { lock } from "../drivers/journal/lock.js";
import { messageOf } from "../protocol/answer.js";
import { type DrainLog, LogError } from "./conduct.js";
import type { DrainEvent } from "./drain.js";
import { isDrainEvent } from "./events.js";

/** So many tokens are taken at once; those that a crash loses are never used. */
const tokensAtOnce = 1_000;

export interface FileDrainLog extends DrainLog {
  close(): Promise<void>;
}

/** @throws Error when another process has the directory, or its file is damaged. */
export async function openDrainLog(directory: string, drainId: string): Promise<FileDrainLog> {
  if (!/^[\w-]+$/.test(drainId)) throw new Error(`"${drainId}" cannot be the name of a drain's file`);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const unlock = await lock(directory);
  const path = join(directory, `${drainId}.drain`);
  try {
    const text = await readFile(path, "utf8").catch(() => "");
    const lines = text.split("\n");
    const torn = lines.pop() ?? "";
    const events = lines.map((line, index) => {
      const event = entryOf(line);
      if (!isDrainEvent(event)) throw new Error(`${path}, line ${index + 1}: the drain's log is damaged`);
      return event;
    });
    const file = await open(path, "a", 0o600);
    if (torn !== "") await file.truncate(Buffer.byteLength(text) - Buffer.byteLength(torn));
    const tokens = new TokenFile(join(directory, "token"));
    await tokens.open();
    return {
      events: async () => events,
      append: async (event: DrainEvent) => {
        try {
          await file.appendFile(lineOf(event));
          await file.datasync();
        } catch (error) {
          throw new LogError(`${path} cannot be written: ${messageOf(error)}`, { cause: error });
        }
      },
      nextToken: () => tokens.next(),
      close: async () => {
        await file.close();
        await unlock();
      },
    };
  } catch (error) {
    await unlock();
    throw error;
  }
}

class TokenFile {
  readonly #path: string;
  #next = 1;
  #taken = 1;

  constructor(path: string) {
    this.#path = path;
  }

  async open(): Promise<void> {
    const text = await readFile(this.#path, "utf8").catch(() => "1");
    const kept = Number(text);
    if (!Number.isSafeInteger(kept) || kept < 1) throw new Error(`${this.#path} holds no token: ${text}`);
    this.#next = kept;
    this.#taken = kept;
  }

  async next(): Promise<number> {
    if (this.#next === this.#taken) {
      this.#taken += tokensAtOnce;
      await writeFile(`${this.#path}.new`, String(this.#taken), { flush: true });
      await rename(`${this.#path}.new`, this.#path);
    }
    this.#next += 1;
    return this.#next - 1;
  }
}
