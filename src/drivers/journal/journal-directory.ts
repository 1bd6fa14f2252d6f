// The stories of an open journal: those being written, those that have ended, and those that cannot be read. Every query
// except for a whole story is answered from memory. Upholds G1 and G3.

import { readdir, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { JournalRecord } from "../../effects/ports.js";
import { isFinal } from "../../machines/shared/states.js";
import type { Decision } from "../../protocol/messages.js";
import type { Side } from "../../protocol/steps.js";
import { lineOf } from "../platform/checked-lines.js";
import { hasCode } from "../platform/error-code.js";
import type { Decisions } from "./decisions.js";
import { syncDirectory } from "./durable.js";
import type { LineFile } from "./line-file.js";
import { version } from "./records.js";
import { readStory } from "./story.js";
import { beginStory, goOnWithStory } from "./story-file.js";
import { hasEnded, noSummary, type Summary, summaryOf, withRecord } from "./summary.js";
import type { FileJournal, Found, OpenStory } from "./types.js";
import { type UnreadableStory, unreadableStory } from "./unreadable.js";

const suffix = ".journal";

/** A story that is open for writing. */
interface Writing {
  readonly file: Promise<LineFile>;
  /** The sides that have not reached a final state. */
  readonly sides: Set<Side>;
  /** Number of appends in progress. */
  pending: number;
}

export class JournalDirectory implements FileJournal {
  readonly directory: string;
  readonly identity: string;
  readonly #decisions: Decisions;
  readonly #unlock: () => Promise<void>;
  readonly #writing = new Map<string, Writing>();
  /** Migrations whose files are closed; a file is reopened when a side records something after its end. */
  readonly #retired = new Set<string>();
  /** Ids of the stories on disk, ended or not. */
  readonly #stories = new Set<string>();
  /** Summaries of the stories that are not known to have ended, as far as durable. */
  readonly #current = new Map<string, Summary>();
  readonly #unreadable = new Map<string, UnreadableStory>();
  /** Writes of summaries in progress. */
  readonly #keeping = new Set<Promise<void>>();

  constructor(opened: {
    readonly directory: string;
    readonly identity: string;
    readonly decisions: Decisions;
    readonly unlock: () => Promise<void>;
  }) {
    this.directory = opened.directory;
    this.identity = opened.identity;
    this.#decisions = opened.decisions;
    this.#unlock = opened.unlock;
  }

  /** Reads the stories that are not known to have ended. Records the reason for each that cannot be read. */
  async scan(): Promise<void> {
    const ended: Summary[] = [];
    for (const name of await readdir(this.directory)) {
      if (!name.endsWith(suffix)) continue;
      const migrationId = name.slice(0, -suffix.length);
      this.#stories.add(migrationId);
      const kept = this.#decisions.get(migrationId);
      if (kept?.hasEnded) continue;
      const story = await this.#read(migrationId);
      if (story === null || !("records" in story)) continue;
      const summary = summaryOf(migrationId, story.records);
      const known = { ...summary, decision: summary.decision ?? kept?.decision ?? null };
      this.#current.set(migrationId, known);
      if (hasEnded(known)) ended.push(known);
    }
    for (const summary of ended.toSorted((a, b) => (a.atMs ?? 0) - (b.atMs ?? 0))) this.#keep(summary);
    await Promise.all(this.#keeping);
  }

  async append(record: JournalRecord): Promise<void> {
    const { migrationId } = record;
    if (!/^[\w-]+$/.test(migrationId))
      throw new Error(`the migration id "${migrationId}" cannot be used as the name of a journal file`);
    const unreadable = this.#unreadable.get(migrationId);
    if (unreadable !== undefined) throw unreadable;
    if (record.kind === "tombstone") return this.#bury(record);
    const writing = this.#writing.get(migrationId) ?? this.#open(migrationId);
    writing.pending += 1;
    try {
      await this.#reopen(record);
      const file = await writing.file;
      await file.append(lineOf(record));
      this.#note(record, writing);
    } finally {
      writing.pending -= 1;
    }
    await this.#retire(migrationId, writing);
  }

  async unfinished() {
    const stories: OpenStory[] = [];
    for (const migrationId of this.#current.keys()) {
      if (this.#writing.has(migrationId)) continue;
      const story = await this.#read(migrationId);
      if (story === null || !("records" in story)) continue;
      if (hasEnded(summaryOf(migrationId, story.records))) continue;
      const writing = this.#write(migrationId, goOnWithStory(story.path, story.wholeBytes, story.version));
      // A side without a state has not begun and is not resumed: the story can end without it.
      for (const record of story.records) if (record.kind === "state") noteSide(record, writing.sides);
      stories.push(story);
    }
    return { stories, unreadable: [...this.#unreadable.values()] };
  }

  async find(migrationId: string): Promise<Found> {
    const unreadable = this.#unreadable.get(migrationId);
    if (unreadable !== undefined) return unreadable;
    if (this.#stories.has(migrationId)) {
      const story = await this.#read(migrationId);
      if (story !== null) return "records" in story ? { kind: "story", story } : story;
    }
    const summary = this.#current.get(migrationId) ?? this.#decisions.get(migrationId);
    return summary === undefined ? { kind: "absent" } : { kind: "summary", summary };
  }

  async forget(migrationId: string): Promise<void> {
    await (await this.#writing.get(migrationId)?.file)?.close();
    this.#writing.delete(migrationId);
    await unlink(this.#pathOf(migrationId));
    await syncDirectory(this.directory);
    this.#stories.delete(migrationId);
    this.#current.delete(migrationId);
    this.#retired.delete(migrationId);
  }

  async setAside(
    migrationId: string,
    { uuid, name }: { readonly uuid: string; readonly name: string },
    decision: Decision | null,
  ): Promise<void> {
    const isDoubtful = decision === null;
    await this.#decisions.keep({
      ...noSummary(migrationId),
      uuid,
      name,
      decision,
      hasEnded: true,
      isDoubtful,
    });
    if (!this.#unreadable.has(migrationId)) return;
    const path = this.#pathOf(migrationId);
    await rename(path, `${path}.unreadable`);
    await syncDirectory(this.directory);
    this.#unreadable.delete(migrationId);
    this.#stories.delete(migrationId);
  }

  isDoubtful = (migrationId: string): boolean => this.#decisions.get(migrationId)?.isDoubtful === true;

  async compact(keep: number, endedBeforeMs = Number.NEGATIVE_INFINITY): Promise<readonly string[]> {
    await Promise.all(this.#keeping);
    const ended = [...this.#decisions.all.values()].filter(
      (kept) => kept.hasEnded && this.#stories.has(kept.migrationId) && !this.#writing.has(kept.migrationId),
    );
    const tooMany = ended.length - keep;
    const gone = ended.filter(({ atMs }, index) => index < tooMany || (atMs ?? 0) < endedBeforeMs);
    const removed: string[] = [];
    for (const { migrationId } of gone) {
      // The story may have been reopened since.
      if (this.#writing.has(migrationId)) continue;
      // Removed before the unlink, so that a concurrent query is answered from the summary.
      this.#stories.delete(migrationId);
      this.#retired.delete(migrationId);
      await unlink(this.#pathOf(migrationId)).catch((error: unknown) => {
        if (hasCode(error, "ENOENT")) return;
        this.#stories.add(migrationId);
        throw error;
      });
      removed.push(migrationId + suffix);
    }
    if (removed.length > 0) await syncDirectory(this.directory);
    return removed;
  }

  has = async (migrationId: string): Promise<boolean> =>
    this.#stories.has(migrationId) || this.#decisions.get(migrationId) !== undefined;

  async endOfSource(migrationId: string) {
    const summary = this.#summaryOf(migrationId);
    const state = summary?.states.source;
    if (summary === undefined || state === undefined || !isFinal("source", state)) return null;
    return { state, failures: summary.sourceFailures, lostThere: summary.lostThere };
  }

  hasLeft = async (migrationId: string): Promise<boolean> =>
    this.#summaryOf(migrationId)?.states.source === "left";

  hasArrived = async (migrationId: string): Promise<boolean> =>
    this.#summaryOf(migrationId)?.states.destination === "arrived";

  async decisionOf(migrationId: string): Promise<Decision | null> {
    return this.#decisions.get(migrationId)?.decision ?? this.#summaryOf(migrationId)?.decision ?? null;
  }

  decisionsOf(uuid: string): readonly Summary[] {
    const current = [...this.#current.values()].filter((summary) => summary.uuid === uuid);
    const kept = this.#decisions.of(uuid).filter(({ migrationId }) => !this.#current.has(migrationId));
    return [...kept, ...current].filter(({ decision }) => decision !== null);
  }

  async close(): Promise<void> {
    await Promise.all(this.#keeping);
    const opened = await Promise.allSettled([...this.#writing.values()].map(({ file }) => file));
    for (const one of opened) if (one.status === "fulfilled") await one.value.close();
    await this.#decisions.close();
    await this.#unlock();
  }

  #pathOf = (migrationId: string): string => join(this.directory, migrationId + suffix);

  /** @throws UnreadableStory */
  #summaryOf(migrationId: string): Summary | undefined {
    const unreadable = this.#unreadable.get(migrationId);
    if (unreadable !== undefined) throw unreadable;
    return this.#current.get(migrationId) ?? this.#decisions.get(migrationId);
  }

  /** Returns null when the story was removed concurrently, which is not damage. */
  async #read(migrationId: string): Promise<OpenStory | UnreadableStory | null> {
    const path = this.#pathOf(migrationId);
    try {
      return { migrationId, path, ...(await readStory(path)) };
    } catch (error) {
      if (!this.#stories.has(migrationId)) return null;
      const unreadable = await unreadableStory(migrationId, path, error);
      this.#unreadable.set(migrationId, unreadable);
      return unreadable;
    }
  }

  #open(migrationId: string): Writing {
    const path = this.#pathOf(migrationId);
    if (this.#retired.has(migrationId))
      return this.#write(
        migrationId,
        stat(path).then(({ size }) => goOnWithStory(path, size, version)),
      );
    const begun = beginStory(path).then((file) => {
      this.#stories.add(migrationId);
      return file;
    });
    return this.#write(migrationId, begun);
  }

  #write(migrationId: string, file: Promise<LineFile>): Writing {
    const writing: Writing = { file, sides: new Set(), pending: 0 };
    this.#writing.set(migrationId, writing);
    // Forget the failed file: a later append may succeed when the disk has space again.
    file.catch(() => {
      if (this.#writing.get(migrationId) === writing) this.#writing.delete(migrationId);
    });
    return writing;
  }

  /** Marks an ended story as open again, durably before the record itself, so that the next start reads the story. */
  async #reopen(record: JournalRecord): Promise<void> {
    const goesOn =
      record.kind === "opened" || (record.kind === "state" && !isFinal(record.side, record.state));
    if (!goesOn) return;
    // A summary still being written would mark the story as ended afterwards.
    await Promise.all(this.#keeping);
    const kept = this.#decisions.get(record.migrationId);
    if (kept?.hasEnded) await this.#decisions.keep({ ...kept, hasEnded: false });
  }

  #note(record: JournalRecord, { sides }: Writing): void {
    const { migrationId } = record;
    noteSide(record, sides);
    const known = this.#current.get(migrationId) ?? this.#decisions.get(migrationId);
    if (record.kind === "aside" && known === undefined) return;
    this.#current.set(migrationId, withRecord(known ?? noSummary(migrationId), record));
  }

  async #retire(migrationId: string, writing: Writing): Promise<void> {
    const isBusy = writing.sides.size > 0 || writing.pending > 0;
    if (isBusy || this.#writing.get(migrationId) !== writing) return;
    this.#writing.delete(migrationId);
    this.#retired.add(migrationId);
    const summary = this.#current.get(migrationId);
    if (summary !== undefined && hasEnded(summary)) this.#keep(summary);
    await (await writing.file).close();
  }

  /** Writes the summary of an ended story. When the write fails, the next start reads the story again. */
  #keep(summary: Summary): void {
    const { migrationId } = summary;
    const keeping = this.#decisions
      .keep({ ...summary, hasEnded: true })
      .then(
        () => {
          if (this.#current.get(migrationId) === summary) this.#current.delete(migrationId);
        },
        () => {},
      )
      .finally(() => this.#keeping.delete(keeping));
    this.#keeping.add(keeping);
  }

  /** Records a tombstone as a row among the decisions, without a story file. */
  async #bury(record: Extract<JournalRecord, { kind: "tombstone" }>): Promise<void> {
    const { migrationId } = record;
    const buried = (summary: Summary | undefined) => withRecord(summary ?? noSummary(migrationId), record);
    const current = this.#current.get(migrationId);
    const isOver = current === undefined && !this.#writing.has(migrationId);
    await this.#decisions.keep({
      ...buried(current ?? this.#decisions.get(migrationId)),
      hasEnded: isOver,
    });
    const meanwhile = this.#current.get(migrationId);
    if (meanwhile !== undefined) this.#current.set(migrationId, buried(meanwhile));
  }
}

function noteSide(record: JournalRecord, sides: Set<Side>): void {
  if (record.kind === "opened") sides.add(record.side);
  if (record.kind !== "state") return;
  if (isFinal(record.side, record.state)) sides.delete(record.side);
  else sides.add(record.side);
}
