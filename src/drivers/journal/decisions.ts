// Summaries of all migrations that have ended on this host, in one append-only file with an index in memory. Upholds G1: a
// source that settles years later gets the same answer, and a guest that was taken is never reported as refused because its
// story was removed.

import * as z from "zod/mini";
import { entryOf, lineOf } from "../platform/checked-lines.js";
import { JournalError, readIfThere } from "./durable.js";
import { LineFile } from "./line-file.js";
import { currentState } from "./older-names.js";
import { failure, side } from "./records.js";
import type { Summary } from "./summary.js";

/** Older versions wrote only the migration id and the decision, and only when they removed the story. */
const row = z.object({
  migrationId: z.string(),
  uuid: z._default(z.nullable(z.string()), null),
  name: z._default(z.nullable(z.string()), null),
  atMs: z._default(z.nullable(z.number()), null),
  decision: z.nullable(z.enum(["taken", "refused"])),
  states: z._default(z.partialRecord(side, z.string()), {}),
  sourceFailures: z._default(z.readonly(z.array(failure)), []),
  lostThere: z._default(z.boolean(), false),
  /** Whether the story has ended, so that a start need not read it. */
  hasEnded: z._default(z.boolean(), false),
  /** Whether the story could not be read, and an operator ended its quarantine without a decision. */
  isDoubtful: z._default(z.boolean(), false),
});

export interface PersistedSummary extends Summary {
  readonly hasEnded: boolean;
  readonly isDoubtful?: boolean;
}

export class Decisions {
  readonly #file: LineFile;
  /** The last row of each migration, in the order in which the migrations ended. */
  readonly #rows = new Map<string, PersistedSummary>();
  /** The migration ids of each guest, by its uuid. */
  readonly #ofGuest = new Map<string, Set<string>>();

  private constructor(file: LineFile) {
    this.#file = file;
  }

  /** Opens the file and truncates an incomplete last line. @throws JournalError when a line is damaged. */
  static async open(path: string): Promise<Decisions> {
    const text = (await readIfThere(path)) ?? "";
    const lines = text.split("\n");
    const torn = lines.pop() ?? "";
    const rows = lines.map((line, index) => {
      const parsed = row.safeParse(entryIn(line));
      if (parsed.success) return { ...parsed.data, states: currentStates(parsed.data.states) };
      throw new JournalError(
        `${path}, line ${index + 1}: the journal is damaged. No migration can be decided from it. Restore the file from a backup.`,
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

  /** Returns the migrations of a guest, in the order in which they ended. */
  of = (uuid: string): readonly PersistedSummary[] =>
    [...(this.#ofGuest.get(uuid) ?? [])].flatMap((migrationId) => this.#rows.get(migrationId) ?? []);

  /** Appends a row; durable when it resolves. Concurrent rows share one write. */
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

/** Replaces names that an older version has written: a row does not record its version. */
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
