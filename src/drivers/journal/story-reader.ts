// Reads the records of a story one after the other, of whatever version they are. A story that an older version has begun
// goes on behind a second header: the older version refuses it then, instead of guessing what states it does not know mean.

import type { JournalRecord } from "../../effects/ports.js";
import { header, oldestVersion, parseRecord, version } from "./records.js";
import { upgraded } from "./upgrade.js";

/** Returns why stories of that version are not read here; null when they are. */
export const unreadableVersion = (found: number): string | null =>
  found < oldestVersion || found > version
    ? `is a journal of version ${found}; this switchover reads versions ${oldestVersion} to ${version}`
    : null;

export class StoryReader {
  #version: number;

  /** @param first the version that the story's first line names. */
  constructor(first: number) {
    this.#version = first;
  }

  /** The version of the records that were read last. */
  get version(): number {
    return this.#version;
  }

  /** Returns the record, why the entry is not a record, or null for a header, which names the version of what follows. */
  read(entry: unknown): JournalRecord | { readonly wrong: string } | null {
    const head = header.safeParse(entry);
    if (!head.success) return parseRecord(upgraded(entry, this.#version));
    const wrong = unreadableVersion(head.data.version);
    if (wrong !== null) return { wrong: `from here on it ${wrong}` };
    this.#version = head.data.version;
    return null;
  }
}
