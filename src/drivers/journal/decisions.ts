// What destinations have decided, of migrations whose stories have been removed. Upholds G1: a source that settles after
// years gets the same answer, and one that was taken is never said to be refused because it was forgotten.

import { appendFile, open, readFile, truncate } from "node:fs/promises";
import * as z from "zod/mini";
import type { Decision } from "../../protocol/messages.js";
import { entryOf, lineOf } from "./lines.js";
import { JournalError } from "./story.js";

const kept = z.object({ migrationId: z.string(), decision: z.enum(["taken", "refused"]) });

export class Decisions {
  readonly #path: string;
  readonly #known: Map<string, Decision>;

  private constructor(path: string, known: Map<string, Decision>) {
    this.#path = path;
    this.#known = known;
  }

  /** @throws JournalError when a line before the last is damaged. */
  static async open(path: string): Promise<Decisions> {
    const text = await readFile(path, "utf8").catch((error: unknown) => {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return "";
      throw error;
    });
    const known = new Map<string, Decision>();
    const lines = text.split("\n");
    // What was not written whole is cut off: its story is still there.
    const torn = Buffer.byteLength(lines.pop() ?? "");
    if (torn > 0) await truncate(path, Buffer.byteLength(text) - torn);
    for (const [no, line] of lines.entries()) {
      const entry = kept.safeParse(entryOf(line));
      if (!entry.success) throw new JournalError(`${path}, line ${no + 1}: the journal is damaged`);
      known.set(entry.data.migrationId, entry.data.decision);
    }
    return new Decisions(path, known);
  }

  of = (migrationId: string): Decision | null => this.#known.get(migrationId) ?? null;

  /** Durable when it resolves. */
  async keep(migrationId: string, decision: Decision): Promise<void> {
    await appendFile(this.#path, lineOf({ migrationId, decision }), { mode: 0o600 });
    const handle = await open(this.#path, "r+");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    this.#known.set(migrationId, decision);
  }
}
