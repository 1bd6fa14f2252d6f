// The journal on disk: one file of lines for each migration, each line with its checksum, durable when `append`
// resolves (G3). A line that cannot be written whole is taken back, so that only a crash leaves a torn end.

import { type FileHandle, mkdir, open, readdir, readFile, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import * as z from "zod/mini";
import type { Journal, JournalRecord } from "../effects/ports.js";
import { coordinatorMachine } from "../machines/coordinator.js";
import { destinationMachine } from "../machines/destination.js";
import { sourceMachine } from "../machines/source.js";
import { messageOf } from "../protocol/answer.js";

const version = 1;
const suffix = ".journal";

export interface FileJournal extends Journal {
  readonly directory: string;
  /**
   * Removes the files of ended migrations but the newest `keep`, and returns their names. One that has not ended, or
   * ended stuck, stays: somebody has to look at it.
   * @throws JournalError when a file is damaged; nothing has been removed then.
   */
  compact(keep: number): Promise<readonly string[]>;
  /** Closes the files; nothing can be appended afterwards. */
  close(): Promise<void>;
}

/** @throws Error when the directory cannot be made or written to. */
export async function openFileJournal(directory: string): Promise<FileJournal> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await syncDirectory(directory);
  const files = new Map<string, Promise<StoryFile>>();
  return {
    directory,
    append: async (record) => {
      const { migrationId } = record;
      const opening = files.get(migrationId) ?? StoryFile.open(directory, migrationId);
      files.set(migrationId, opening);
      let file: StoryFile;
      try {
        file = await opening;
      } catch (error) {
        // A later migration step may find room again.
        files.delete(migrationId);
        throw error;
      }
      await file.append(record);
    },
    compact: async (keep) => {
      const names = (await readdir(directory)).filter((it) => it.endsWith(suffix));
      const others = names.filter((it) => !files.has(it.slice(0, -suffix.length)));
      const ended = await Promise.all(
        others.map(async (name) => {
          const path = join(directory, name);
          const { mtimeMs } = await stat(path);
          return { name, mtimeMs, ended: hasEnded((await readStory(path)).records) };
        }),
      );
      const gone = ended
        .filter((it) => it.ended)
        .toSorted((a, b) => b.mtimeMs - a.mtimeMs)
        .slice(keep)
        .map((it) => it.name);
      for (const name of gone) await unlink(join(directory, name));
      if (gone.length > 0) await syncDirectory(directory);
      return gone;
    },
    close: async () => {
      const opened = await Promise.allSettled(files.values());
      for (const it of opened) if (it.status === "fulfilled") await it.value.close();
    },
  };
}

/** The file of one migration. Lines that come while one is being written go together in the next write. */
class StoryFile {
  readonly #file: FileHandle;
  #length = 0;
  #waiting: { line: string; resolve: () => void; reject: (error: unknown) => void }[] = [];
  #writing = false;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  static async open(directory: string, migrationId: string): Promise<StoryFile> {
    if (!/^[\w-]+$/.test(migrationId))
      throw new Error(`"${migrationId}" cannot be the name of a journal file`);
    const file = new StoryFile(await open(join(directory, migrationId + suffix), "ax", 0o600));
    await file.#write([lineOf({ kind: "journal", version })]);
    await syncDirectory(directory);
    return file;
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

  close(): Promise<void> {
    return this.#file.close();
  }
}

const lineOf = (entry: object): string => {
  const text = JSON.stringify(entry);
  return `${checksum(text)} ${text}\n`;
};
const checksum = (text: string): string => crc32(text).toString(16).padStart(8, "0");

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const machines = { source: sourceMachine, destination: destinationMachine, coordinator: coordinatorMachine };
const toLookAt: readonly string[] = ["stuck", "leftBehind"];

/** Whether every side that has a record is at its end, and needs nobody. */
function hasEnded(records: readonly JournalRecord[]): boolean {
  const last = new Map(records.map((it) => [it.side, it.kind === "state" ? it.state : null]));
  for (const it of records) if (it.kind === "state") last.set(it.side, it.state);
  return [...last].every(
    ([side, state]) =>
      state !== null && !toLookAt.includes(state) && machines[side].root.states[state]?.type === "final",
  );
}

/** What a journal file holds. */
export interface Story {
  readonly records: readonly JournalRecord[];
  /** A last line that was not written whole: the crash came before it was durable, so nothing rested on it. */
  readonly torn: string | null;
}

/** A journal that cannot be read: not ours, of another version, or damaged before its end. */
export class JournalError extends Error {
  override readonly name = "JournalError";
}

const answerFailure = z.object({
  code: z.enum(["aborted", "stalled", "deadline", "died", "refused", "unanswered", "rejected", "qemu"]),
  step: z.enum(["begin", "prepare", "perform", "finish", "confirm", "settle"]),
  side: z.enum(["source", "destination", "coordinator"]),
  message: z.string(),
  qemu: z.optional(z.array(z.string())),
});
const common = {
  migrationId: z.string(),
  side: z.enum(["source", "destination", "coordinator"]),
  atMs: z.number(),
};
const record = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("state"),
    ...common,
    state: z.string(),
    event: z.string(),
    because: z.array(answerFailure),
  }),
  z.object({
    kind: z.literal("aside"),
    ...common,
    aside: z.discriminatedUnion("type", [
      z.object({ type: z.literal("kept"), event: z.string(), why: z.string() }),
      z.object({ type: z.literal("refused"), event: z.string(), why: z.string() }),
      z.object({ type: z.literal("tuned"), bandwidthMiBps: z.number(), maxDowntimeMs: z.number() }),
    ]),
  }),
]);
const header = z.object({ kind: z.literal("journal"), version: z.number() });

/** @throws JournalError with the line; an error of the file system when the file cannot be read. */
export async function readStory(path: string): Promise<Story> {
  const lines = (await readFile(path, "utf8")).split("\n");
  const rest = lines.pop() ?? "";
  const entries = lines.map((line) => entryOf(line));
  const damaged = entries.indexOf(undefined);
  const torn =
    rest !== "" ? rest : damaged !== -1 && damaged === lines.length - 1 ? (lines[damaged] ?? "") : null;
  if (damaged !== -1 && damaged !== lines.length - 1)
    throw new JournalError(`${path}, line ${damaged + 1}: the checksum does not fit; the journal is damaged`);
  const [first, ...records] = entries.filter((it) => it !== undefined);
  const head = header.safeParse(first);
  if (!head.success) throw new JournalError(`${path} is no journal of switchover`);
  if (head.data.version !== version) {
    throw new JournalError(
      `${path} is a journal of version ${head.data.version}; this switchover reads version ${version}`,
    );
  }
  return {
    torn,
    records: records.map((entry, index) => {
      const parsed = record.safeParse(entry);
      if (parsed.success) return parsed.data as JournalRecord;
      throw new JournalError(`${path}, line ${index + 2}: ${z.prettifyError(parsed.error)}`);
    }),
  };
}

function entryOf(line: string): unknown {
  const text = line.slice(9);
  if (line[8] !== " " || line.slice(0, 8) !== checksum(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new JournalError(`a line with a good checksum is no JSON: ${messageOf(error)}`);
  }
}
