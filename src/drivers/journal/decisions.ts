// The summaries of all migrations that have ended here, in one append-only file with an index in memory. Upholds G1: a
// source that settles after years gets the same answer, and a guest that was taken is never reported as refused because its
// story was removed.

import * as z from "zod/mini";
import { entryOf, lineOf } from "../platform/checked-lines.js";
import { JournalError, readIfThere } from "./durable.js";
import { LineFile } from "./line-file.js";
import { currentState } from "./older-names.js";
import { failure, side } from "./records.js";
import type { Summary } from "./summary.js";

/** Older versions wrote the migration's id and the decision alone, and only as they removed the story. */
const row = z.object({
  migrationId: z.string(),
  uuid: z._default(z.nullable(z.string()), null),
  name: z._default(z.nullable(z.string()), null),
  atMs: z._default(z.nullable(z.number()), null),
  decision: z.nullable(z.enum(["taken", "refused"])),
  states: z._default(z.partialRecord(side, z.string()), {}),
  sourceFailures: z._default(z.readonly(z.array(failure)), []),
  lostThere: z._default(z.boolean(), false),
  /** Whether the story has ended, so that it need not be read at a start. */
  hasEnded: z._default(z.boolean(), false),
  /** The story could not be read, and an operator has ended that without a decision. */
  isDoubtful: z._default(z.boolean(), false),
});

export interface PersistedSummary extends Summary {
  readonly hasEnded: boolean;
  readonly isDoubtful?: boolean;
}

export class Decisions {
  readonly #file: LineFile;
  /** The last row of each migration; its order is that in which they ended. */
  readonly #rows = new Map<string, PersistedSummary>();
  /** By the guest's uuid: its migrations. */
  readonly #ofGuest = new Map<string, Set<string>>();

  private constructor(file: LineFile) {
    this.#file = file;
  }

  /** @throws JournalError when a line is damaged; a last line that was not written whole is cut off. */
  static async open(path: string): Promise<Decisions> {
    const text = (await readIfThere(path)) ?? "";
    const lines = text.split("\n");
    const torn = lines.pop() ?? "";
    const rows = lines.map((line, index) => {
      const parsed = row.safeParse(entryIn(line));
      if (parsed.success) return { ...parsed.data, states: currentStates(parsed.data.states) };
      throw new JournalError(
        `${path}, line ${index + 1}: the journal is damaged. No migration can be decided from it: restore the file from a backup.`,
      );
    });
    const whole = Buffer.byteLength(text) - Buffer.byteLength(torn);
    const decisions = new Decisions(await LineFile.open(path, "a", whole));
    for (const one of rows) decisions.#note(one);
    return decisions;
  }

  get all(): ReadonlyMap<string, PersistedSummary> {
    return this.#rows;
  }

  get = (migrationId: string): PersistedSummary | undefined => this.#rows.get(migrationId);

  /** The migrations of a guest, in the order in which they ended. */
  of = (uuid: string): readonly PersistedSummary[] =>
    [...(this.#ofGuest.get(uuid) ?? [])].flatMap((migrationId) => this.#rows.get(migrationId) ?? []);

  /** Durable when it resolves; rows that are kept at once share one write. */
  async keep(kept: PersistedSummary): Promise<void> {
    await this.#file.append(lineOf(kept));
    this.#note(kept);
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  #note(kept: PersistedSummary): void {
    this.#rows.delete(kept.migrationId);
    this.#rows.set(kept.migrationId, kept);
    if (kept.uuid === null) return;
    const migrations = this.#ofGuest.get(kept.uuid) ?? new Set();
    migrations.delete(kept.migrationId);
    migrations.add(kept.migrationId);
    this.#ofGuest.set(kept.uuid, migrations);
  }
}

/** A row tells no version: names that an older version has written are replaced wherever they stand. */
const currentStates = ({ source, destination, coordinator }: Summary["states"]): Summary["states"] => ({
  ...(source !== undefined && { source: currentState("source", source) }),
  ...(destination !== undefined && { destination: currentState("destination", destination) }),
  ...(coordinator !== undefined && { coordinator: currentState("coordinator", coordinator) }),
});

function entryIn(line: string): unknown {
  try {
    return entryOf(line);
  } catch {
    return undefined;
  }
}
