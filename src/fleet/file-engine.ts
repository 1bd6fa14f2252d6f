// The embedded engine: stores drains in a directory of one machine, each as a file of events that one process holds at a time.
// An event is durable when `next` resolves; a torn last line was never acted on.

import { mkdir, open, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { entryOf, lineOf } from "../drivers/platform/checked-lines.js";
import { systemClock } from "../drivers/platform/clock.js";
import { lock } from "../drivers/platform/file-lock.js";
import { messageOf } from "../protocol/effect-result.js";
import type { DrainEvent } from "./drain.js";
import { isDrainEvent } from "./events.js";
import { type DrainEngine, EngineError, type OpenEngine } from "./run-drain.js";

/** @throws Error when another process holds the directory, or the file is damaged. */
export async function openFileEngine(directory: string, drainId: string): Promise<OpenEngine> {
  if (!/^[\w-]+$/.test(drainId))
    throw new Error(`"${drainId}" is not a valid drain id; use letters, digits, "_" and "-"`);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const unlock = await lock(directory);
  const path = join(directory, `${drainId}.drain`);
  try {
    const { events, wholeBytes } = await eventsIn(path);
    const tokens = await TokenFile.open(join(directory, "token"));
    const file = await open(path, "a", 0o600);
    await file.truncate(wholeBytes);
    let at = 0;
    const engine: DrainEngine = {
      next: async (happen) => {
        const known = events[at];
        at += 1;
        if (known !== undefined) return known;
        const event = await happen();
        try {
          await file.appendFile(lineOf(event));
          await file.datasync();
        } catch (error) {
          throw new EngineError(`${path} cannot be written: ${messageOf(error)}`, { cause: error });
        }
        return event;
      },
      nextToken: () => tokens.next(),
    };
    return {
      known: events.length,
      run: (conducting) => conducting(engine),
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

async function eventsIn(path: string): Promise<{ events: DrainEvent[]; wholeBytes: number }> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return "";
    throw error;
  });
  const lines = text.split("\n");
  const torn = lines.pop() ?? "";
  const events = lines.map((line, index) => {
    const event = entryOf(line);
    if (!isDrainEvent(event)) throw new Error(`${path}, line ${index + 1}: the drain's events are damaged`);
    return event;
  });
  return { events, wholeBytes: Buffer.byteLength(text) - Buffer.byteLength(torn) };
}

/** Number of tokens reserved per write; tokens lost in a crash are never used. */
const tokensAtOnce = 1_000;

/** Each token is the time in ms, or the last token plus one: so tokens also grow across directories if the clocks agree. */
class TokenFile {
  readonly #path: string;
  #next: number;
  #taken: number;

  private constructor(path: string, next: number) {
    this.#path = path;
    this.#next = next;
    this.#taken = next;
  }

  static async open(path: string): Promise<TokenFile> {
    const text = await readFile(path, "utf8").catch(() => "1");
    const next = Number(text);
    if (!Number.isSafeInteger(next) || next < 1)
      throw new Error(`${path} does not contain a valid token: "${text}"`);
    return new TokenFile(path, next);
  }

  async next(): Promise<number> {
    const token = Math.max(this.#next, systemClock.now());
    if (token >= this.#taken) {
      const taken = token + tokensAtOnce;
      await writeFile(`${this.#path}.new`, String(taken), { flush: true });
      await rename(`${this.#path}.new`, this.#path);
      this.#taken = taken;
    }
    this.#next = token + 1;
    return token;
  }
}
