// The interface of a journal on disk.

import type { Journal } from "../../effects/ports.js";
import type { Failure } from "../../protocol/failure.js";
import type { Decision } from "../../protocol/messages.js";
import type { Story } from "./story.js";
import type { Summary } from "./summary.js";
import type { UnreadableStory } from "./unreadable.js";

/** A story with its id and its path. */
export interface OpenStory extends Story {
  readonly migrationId: string;
  readonly path: string;
}

/** The journal's knowledge of a migration. Only `absent` means that, according to this journal, it never existed here. */
export type Found =
  | { readonly kind: "story"; readonly story: OpenStory }
  /** The story has ended and was removed. */
  | { readonly kind: "summary"; readonly summary: Summary }
  | UnreadableStory
  | { readonly kind: "absent" };

export interface FileJournal extends Journal {
  readonly directory: string;
  /**
   * The identity of the journal, for the lifetime of the directory. A host whose journal has a different identity than before
   * has lost its decisions.
   */
  readonly identity: string;
  /**
   * Returns the stories that have not ended, opened for appending, and those that cannot be read, each with the reason. The
   * unreadable ones are left unchanged.
   */
  unfinished(): Promise<{
    readonly stories: readonly OpenStory[];
    readonly unreadable: readonly UnreadableStory[];
  }>;
  find(migrationId: string): Promise<Found>;
  /** Removes a story that has not begun, in which nothing has been done yet. */
  forget(migrationId: string): Promise<void>;
  /**
   * Removes the story files of ended migrations except the newest `keep`, and of those that ended before `endedBeforeMs`, and
   * returns their names. A story that has not ended, ended stuck, or cannot be read is kept, since an operator has to examine
   * it. The summary of every migration is kept.
   */
  compact(keep: number, endedBeforeMs?: number): Promise<readonly string[]>;
  /** Returns whether a migration with that id exists, ended or not. */
  has(migrationId: string): Promise<boolean>;
  /**
   * Returns how the source's side of a migration ended; null while it has not ended, or when there was none here.
   * @throws UnreadableStory
   */
  endOfSource(migrationId: string): Promise<SourceEnd | null>;
  /** Returns whether the source's copy was ended because the guest runs elsewhere. @throws UnreadableStory */
  hasLeft(migrationId: string): Promise<boolean>;
  /** Returns whether the guest has arrived here completely; a guest that was taken can still be lost. @throws UnreadableStory */
  hasArrived(migrationId: string): Promise<boolean>;
  /**
   * Returns this host's decision as the destination of a migration, however long ago; null when there is none.
   * @throws UnreadableStory when the story may contain a decision; no answer may be given then.
   */
  decisionOf(migrationId: string): Promise<Decision | null>;
  /**
   * Ends the quarantine of an unreadable story on an operator's command: the file is kept under another name, which no start
   * reads, and the migration ends here with this decision, or with none (null). Durable when it resolves.
   */
  setAside(
    migrationId: string,
    guest: { readonly uuid: string; readonly name: string },
    decision: Decision | null,
  ): Promise<void>;
  /** Returns whether a story was set aside without a decision. */
  isDoubtful(migrationId: string): boolean;
  /** Returns the migrations in which this host took or refused the guest, with the last states of its sides; the oldest first. */
  decisionsOf(uuid: string): readonly Summary[];
  /** Closes the files; appends are not possible afterwards. */
  close(): Promise<void>;
}

export interface SourceEnd {
  readonly state: string;
  readonly failures: readonly Failure[];
  readonly lostThere: boolean;
}
