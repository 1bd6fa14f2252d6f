// Reads the records of a story in sequence, of any supported version. A story that an older version has begun continues after
// a second header, so that the older version refuses it instead of misinterpreting unknown states.

import type { JournalRecord } from "../../effects/ports.js";
import { header, oldestVersion, parseRecord, version } from "./records.js";
import { upgraded } from "./upgrade.js";

/** Returns the reason why stories of that version cannot be read; null when they can. */
export const unreadableVersion = (found: number): string | null =>
  found < oldestVersion || found > version
    ? `is a journal of version ${found}; this switchover reads versions ${oldestVersion} to ${version}`
    : null;

export class StoryReader {
  #version: number;

  /** @param first the version in the story's first line. */
  constructor(first: number) {
    this.#version = first;
  }

  /** Version of the records that were read last. */
  get version(): number {
    return this.#version;
  }

  /** Returns the record, why the entry is not a record, or null for a header, which sets the version of the records after it. */
  read(entry: unknown): JournalRecord | { readonly wrong: string } | null {
    const head = header.safeParse(entry);
    if (!head.success) return parseRecord(upgraded(entry, this.#version));
    const wrong = unreadableVersion(head.data.version);
    if (wrong !== null) return { wrong: `from here on it ${wrong}` };
    this.#version = head.data.version;
    return null;
  }
}
