// The journal on disk: a directory with one file for each migration, held by one engine at a time. Upholds G3's
// write-ahead rule: a record is durable when `append` resolves.

import { randomUUID } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { Journal, JournalRecord } from "../../effects/ports.js";
import { isFinal } from "../../machines/shared/states.js";
import { messageOf } from "../../protocol/answer.js";
import type { Failure } from "../../protocol/failures.js";
import type { Decision } from "../../protocol/messages.js";
import { quoted } from "../../protocol/printable.js";
import type { Side } from "../../protocol/steps.js";
import { Decisions } from "./decisions.js";
import { lock } from "./lock.js";
import { decisionOf, hasEnded, readStory, type Story } from "./story.js";
import { StoryFile } from "./story-file.js";

const suffix = ".journal";

/** A story that was there when the journal was opened, and has not ended or needs a person. */
export interface OpenStory extends Story {
  readonly migrationId: string;
  readonly path: string;
}

export interface FileJournal extends Journal {
  readonly directory: string;
  /** Made with the journal, and kept: who meets another one meets a host that has lost its memory. */
  readonly identity: string;
  /**
   * The stories that have not ended, each ready to be gone on with; and the files that cannot be read, each with why.
   * Those stay as they are.
   */
  unfinished(): Promise<{ readonly stories: readonly OpenStory[]; readonly unreadable: readonly Error[] }>;
  /** Removes a story that had not begun: nothing had been done yet. */
  forget(migrationId: string): Promise<void>;
  /**
   * Removes the files of ended migrations but the newest `keep`, and returns their names. One that has not ended, or
   * ended stuck, stays: somebody has to look at it. What a destination has decided is kept, in a line of `decisions`.
   * @throws JournalError when a file is damaged; nothing has been removed then.
   */
  compact(keep: number): Promise<readonly string[]>;
  /** Whether there is a story of that migration, ended or not. */
  has(migrationId: string): Promise<boolean>;
  /** How the source's side of a migration has ended; null while it has not, or when there was none here. */
  endOfSource(migrationId: string): Promise<SourceEnd | null>;
  /** Whether a source's copy has ended because its guest runs elsewhere. */
  hasLeft(migrationId: string): Promise<boolean>;
  /** Whether the guest has come here whole; a destination can take a guest, and lose it then. */
  hasArrived(migrationId: string): Promise<boolean>;
  /** What this side has decided as the destination of a migration, however long ago; null when nothing. */
  decisionOf(migrationId: string): Promise<Decision | null>;
  /** Closes the files; nothing can be appended afterwards. */
  close(): Promise<void>;
}

/** `lostThere`: the coordinator beside it has learned that the destination took the guest, and lost it. */
export interface SourceEnd {
  readonly state: string;
  readonly failures: readonly Failure[];
  readonly lostThere: boolean;
}

/** @throws Error when the directory cannot be made or written to, or another process has it open. */
export async function openFileJournal(
  directory: string,
  { mustExist = false }: { readonly mustExist?: boolean } = {},
): Promise<FileJournal> {
  if (!mustExist) await mkdir(directory, { recursive: true, mode: 0o700 });
  await syncDirectory(directory);
  const unlock = await lock(directory);
  const decisions = await Decisions.open(join(directory, "decisions")).catch(async (error: unknown) => {
    await unlock();
    throw error;
  });
  const identity = await identityIn(directory);
  const files = new Map<string, Promise<StoryFile>>();
  /** By migration: the sides that have not come to their end; none when a record follows after that. */
  const underWay = new Map<string, Set<Side>>();
  /** Whose files are closed, and opened again for what a side still says after its end. */
  const retired = new Set<string>();
  const pathOf = (migrationId: string) => {
    if (!/^[\w-]+$/.test(migrationId))
      throw new Error(`${quoted(migrationId)} cannot be the name of a journal file`);
    return join(directory, migrationId + suffix);
  };

  const begin = async (migrationId: string) => {
    const path = pathOf(migrationId);
    if (retired.has(migrationId)) return StoryFile.goOn(path, (await stat(path)).size);
    const file = await StoryFile.begin(path);
    await syncDirectory(directory);
    return file;
  };
  const note = (record: JournalRecord): void => {
    const { migrationId, side } = record;
    const sides = underWay.get(migrationId) ?? new Set();
    if (record.kind === "opened") sides.add(side);
    if (record.kind === "state" && isFinal(side, record.state)) sides.delete(side);
    if (sides.size > 0) underWay.set(migrationId, sides);
    else underWay.delete(migrationId);
  };
  const retire = async (migrationId: string, file: StoryFile): Promise<void> => {
    if (underWay.has(migrationId) || !file.isIdle) return;
    files.delete(migrationId);
    retired.add(migrationId);
    await file.close();
  };
  const names = async () => (await readdir(directory)).filter((it) => it.endsWith(suffix));
  const has = async (migrationId: string) => (await names()).includes(migrationId + suffix);
  const hasComeTo = async (end: string, side: Side, migrationId: string) => {
    if (!(await has(migrationId))) return false;
    const { records } = await readStory(pathOf(migrationId));
    const last = records.findLast((it) => it.kind === "state" && it.side === side);
    return last?.kind === "state" && last.state === end;
  };
  const idOf = (name: string) => name.slice(0, -suffix.length);

  return {
    directory,
    identity,
    append: async (record) => {
      const { migrationId } = record;
      const opening = files.get(migrationId) ?? begin(migrationId);
      files.set(migrationId, opening);
      let file: StoryFile;
      try {
        file = await opening;
      } catch (error) {
        // A later migration step may find room again.
        files.delete(migrationId);
        throw error;
      }
      note(record);
      await file.append(record);
      await retire(migrationId, file);
    },
    unfinished: async () => {
      const stories: OpenStory[] = [];
      const unreadable: Error[] = [];
      for (const name of await names()) {
        const migrationId = idOf(name);
        const path = pathOf(migrationId);
        if (files.has(migrationId)) continue;
        try {
          const story = await readStory(path);
          if (hasEnded(story)) continue;
          files.set(migrationId, StoryFile.goOn(path, story.wholeBytes));
          for (const record of story.records) note(record);
          stories.push({ ...story, migrationId, path });
        } catch (error) {
          unreadable.push(error instanceof Error ? error : new Error(messageOf(error)));
        }
      }
      return { stories, unreadable };
    },
    forget: async (migrationId) => {
      await (await files.get(migrationId))?.close();
      files.delete(migrationId);
      await unlink(pathOf(migrationId));
      await syncDirectory(directory);
    },
    compact: async (keep) => {
      const others = (await names()).filter((it) => !files.has(idOf(it)));
      const ended = await Promise.all(
        others.map(async (name) => {
          const path = join(directory, name);
          const { mtimeMs } = await stat(path);
          const story = await readStory(path);
          return { name, mtimeMs, ended: hasEnded(story), decision: decisionOf(story) };
        }),
      );
      const gone = ended
        .filter((it) => it.ended)
        .toSorted((a, b) => b.mtimeMs - a.mtimeMs)
        .slice(keep);
      for (const { name, decision } of gone) {
        if (decision !== null) await decisions.keep(idOf(name), decision);
        await unlink(join(directory, name));
      }
      if (gone.length > 0) await syncDirectory(directory);
      return gone.map((it) => it.name);
    },
    has,
    endOfSource: async (migrationId) => {
      if (!(await has(migrationId))) return null;
      const { records } = await readStory(pathOf(migrationId));
      const states = records.filter((it) => it.kind === "state" && it.side === "source");
      const last = states.at(-1);
      if (last?.kind !== "state" || !isFinal("source", last.state)) return null;
      const failures = states.flatMap((it) => (it.kind === "state" ? it.because : []));
      const lostThere = records.some(
        (it) =>
          it.kind === "state" && it.side === "coordinator" && it.learned.destination?.outcome === "lost",
      );
      return { state: last.state, failures, lostThere };
    },
    hasLeft: (migrationId) => hasComeTo("left", "source", migrationId),
    hasArrived: (migrationId) => hasComeTo("arrived", "destination", migrationId),
    decisionOf: async (migrationId) => {
      const kept = decisions.of(migrationId);
      if (kept !== null) return kept;
      return (await has(migrationId)) ? decisionOf(await readStory(pathOf(migrationId))) : null;
    },
    close: async () => {
      const opened = await Promise.allSettled(files.values());
      for (const it of opened) if (it.status === "fulfilled") await it.value.close();
      await unlock();
    },
  };
}

async function identityIn(directory: string): Promise<string> {
  const path = join(directory, "identity");
  const known = await readFile(path, "utf8").catch(() => "");
  if (known !== "") return known;
  const identity = randomUUID();
  const handle = await open(`${path}.new`, "w", 0o600);
  try {
    await handle.writeFile(identity);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${path}.new`, path);
  await syncDirectory(directory);
  return identity;
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
