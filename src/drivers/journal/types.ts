// What can be asked of a journal on disk, and what it answers.

import type { Journal } from "../../effects/ports.js";
import type { Failure } from "../../protocol/failure.js";
import type { Decision } from "../../protocol/messages.js";
import type { Story } from "./story.js";
import type { Summary } from "./summary.js";
import type { UnreadableStory } from "./unreadable.js";

/** A story of the journal, with where it stands. */
export interface OpenStory extends Story {
  readonly migrationId: string;
  readonly path: string;
}

/** What the journal holds of a migration. Only `absent` says that there never was one here, as far as this journal reaches. */
export type Found =
  | { readonly kind: "story"; readonly story: OpenStory }
  /** The story has been removed, since it had ended. */
  | { readonly kind: "summary"; readonly summary: Summary }
  | UnreadableStory
  | { readonly kind: "absent" };

export interface FileJournal extends Journal {
  readonly directory: string;
  /**
   * The identity of the journal, for as long as the directory lives. A host whose journal has another identity than before
   * has forgotten what it decided.
   */
  readonly identity: string;
  /**
   * The stories that have not ended, each ready to be gone on with; and those that cannot be read, each with the reason.
   * Those stay as they are.
   */
  unfinished(): Promise<{
    readonly stories: readonly OpenStory[];
    readonly unreadable: readonly UnreadableStory[];
  }>;
  find(migrationId: string): Promise<Found>;
  /** Removes a story that had not begun: nothing had been done yet. */
  forget(migrationId: string): Promise<void>;
  /**
   * Removes the files of ended migrations but the newest `keep`, and those that ended before `endedBeforeMs`, and returns
   * their names. One that has not ended, ended stuck, or cannot be read, stays: an operator has to look at it. The summary
   * of every migration is kept.
   */
  compact(keep: number, endedBeforeMs?: number): Promise<readonly string[]>;
  /** Whether there was a migration of that id, ended or not. */
  has(migrationId: string): Promise<boolean>;
  /**
   * How the source's side of a migration has ended; null while it has not, or when there was none here.
   * @throws UnreadableStory
   */
  endOfSource(migrationId: string): Promise<SourceEnd | null>;
  /** Whether a source's copy has ended because its guest runs elsewhere. @throws UnreadableStory */
  hasLeft(migrationId: string): Promise<boolean>;
  /** Whether the guest has come here whole; a destination can take a guest, and lose it then. @throws UnreadableStory */
  hasArrived(migrationId: string): Promise<boolean>;
  /**
   * What this side has decided as the destination of a migration, however long ago; null when nothing.
   * @throws UnreadableStory when the story may hold a decision; nothing may be answered then.
   */
  decisionOf(migrationId: string): Promise<Decision | null>;
  /**
   * An operator has said what this host cannot read: the story's file is kept under another name, which no start reads, and
   * the migration has ended here with this decision; null: without one. Durable when it resolves.
   */
  setAside(
    migrationId: string,
    guest: { readonly uuid: string; readonly name: string },
    decision: Decision | null,
  ): Promise<void>;
  /** Whether a story was set aside without a decision. */
  isDoubtful(migrationId: string): boolean;
  /** The migrations of a guest that this host has taken or refused, with its sides' last states; the oldest first. */
  decisionsOf(uuid: string): readonly Summary[];
  /** Closes the files; nothing can be appended afterwards. */
  close(): Promise<void>;
}

export interface SourceEnd {
  readonly state: string;
  readonly failures: readonly Failure[];
  readonly lostThere: boolean;
}
