// Checks what outlives a migration's story: its decision and its end, answered from memory (G1), and the journal's files on disk.

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openFileJournal } from "../../../../src/drivers/journal/file-journal.js";
import type { FileJournal } from "../../../../src/drivers/journal/types.js";
import { destinationOpened, sourceOpened, stateOf, uuid } from "../../../support/journal-records.js";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "journal-keeping-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const storiesIn = () => readdirSync(directory).filter((name) => name.endsWith(".journal"));

async function arrive(journal: FileJournal, migrationId: string, atMs = 1): Promise<void> {
  await journal.append(destinationOpened(migrationId));
  await journal.append(stateOf(migrationId, "destination", "arrived", { atMs }));
}

describe("the summary that a journal keeps of a migration", () => {
  test("has its decision, its guest and its end, by id and by guest, after its story was removed", async () => {
    const journal = await openFileJournal(directory);
    await arrive(journal, "m-in");
    await journal.append(sourceOpened("m-out"));
    const because = [{ code: "died", step: "perform", side: "source", message: "QEMU died" }] as const;
    await journal.append(stateOf("m-out", "source", "lost", { because }));
    await journal.compact(0);
    await journal.close();
    expect(storiesIn()).toEqual([]);

    const later = await openFileJournal(directory);
    expect(await later.decisionOf("m-in")).toBe("taken");
    expect(await later.hasArrived("m-in")).toBe(true);
    expect(await later.endOfSource("m-out")).toEqual({ lostThere: false, state: "lost", failures: because });
    expect(await later.has("m-out")).toBe(true);
    expect(later.decisionsOf(uuid)).toMatchObject([
      { migrationId: "m-in", decision: "taken", name: "web-1" },
    ]);
    expect(await later.find("m-in")).toMatchObject({ kind: "summary", summary: { atMs: 1 } });
    expect(await later.find("m-never")).toEqual({ kind: "absent" });
    await later.close();
  });

  test("is a line without a file when a query names a migration that never arrived", async () => {
    const journal = await openFileJournal(directory);
    for (const migrationId of ["m-1", "m-2"])
      await journal.append({ kind: "tombstone", migrationId, side: "destination", atMs: 7, uuid });
    await journal.close();
    expect(storiesIn()).toEqual([]);
    const later = await openFileJournal(directory);
    expect(await later.decisionOf("m-2")).toBe("refused");
    expect(later.decisionsOf(uuid).map(({ migrationId }) => migrationId)).toEqual(["m-1", "m-2"]);
    await later.close();
  });

  test("remains taken, even when the destination was stuck afterwards", async () => {
    const journal = await openFileJournal(directory);
    await journal.append(destinationOpened("m-1"));
    await journal.append(stateOf("m-1", "destination", "fetchingPages"));
    await journal.append(stateOf("m-1", "destination", "stuck"));
    expect(await journal.decisionOf("m-1")).toBe("taken");
    await journal.close();
    const later = await openFileJournal(directory);
    expect(await later.decisionOf("m-1")).toBe("taken");
    await later.close();
  });

  test("remains when stories are removed by age and by count, the oldest first, except those that have not ended", async () => {
    const journal = await openFileJournal(directory);
    for (const atMs of [10, 20, 30, 40]) await arrive(journal, `m-${atMs}`, atMs);
    await journal.append(sourceOpened("m-open"));
    await journal.append(stateOf("m-open", "source", "handedOver"));
    expect(await journal.compact(10, 15)).toEqual(["m-10.journal"]);
    expect(await journal.compact(1)).toEqual(["m-20.journal", "m-30.journal"]);
    expect(storiesIn().toSorted()).toEqual(["m-40.journal", "m-open.journal"]);
    await journal.close();
  });

  test("is answered from memory: neither a lookup nor a later start reads stories that have ended", async () => {
    const journal = await openFileJournal(directory);
    for (let n = 0; n < 20; n += 1) await arrive(journal, `m-${n}`);
    await journal.close();
    // If they were read, they would be reported.
    for (const name of storiesIn()) writeFileSync(join(directory, name), "damaged\n");
    const later = await openFileJournal(directory);
    expect(await later.unfinished()).toEqual({ stories: [], unreadable: [] });
    for (const name of storiesIn()) rmSync(join(directory, name));
    expect(await later.decisionOf("m-7")).toBe("taken");
    expect(await later.hasArrived("m-8")).toBe(true);
    expect(await later.has("m-9")).toBe(true);
    await later.close();
  });

  test("is completed at the start after a crash before the line of a story's end", async () => {
    const journal = await openFileJournal(directory);
    await arrive(journal, "m-1");
    await journal.close();
    rmSync(join(directory, "decisions"));
    const later = await openFileJournal(directory);
    expect(await later.decisionOf("m-1")).toBe("taken");
    expect((await later.unfinished()).stories).toEqual([]);
    expect(await later.compact(0)).toHaveLength(1);
    await later.close();
  });

  test("can be queried while its story is being removed", async () => {
    const journal = await openFileJournal(directory);
    const ids = Array.from({ length: 20 }, (_, index) => `m-${index}`);
    for (const migrationId of ids) await arrive(journal, migrationId);
    const compacting = journal.compact(0);
    const isOver = compacting.then(() => true);
    do {
      const found = await Promise.all(ids.map((migrationId) => journal.find(migrationId)));
      expect(found.filter(({ kind }) => kind !== "story" && kind !== "summary")).toEqual([]);
    } while (!(await Promise.race([isOver, new Promise((resolve) => setImmediate(resolve, false))])));
    expect((await compacting).length).toBe(ids.length);
    for (const migrationId of ids) expect(await journal.hasArrived(migrationId)).toBe(true);
    await journal.close();
  });

  test("shows an end when all sides that have begun have ended, although another one was opened", async () => {
    const journal = await openFileJournal(directory);
    await journal.append(sourceOpened("m-1"));
    await journal.append(destinationOpened("m-1"));
    await journal.append(stateOf("m-1", "source", "settling"));
    await journal.close();
    const later = await openFileJournal(directory);
    expect((await later.unfinished()).stories.length).toBe(1);
    await later.append(stateOf("m-1", "source", "left"));
    expect(await later.compact(0)).toEqual(["m-1.journal"]);
    await later.close();
  });

  test("is empty when the engine died before the first state: a start returns the story, to be removed", async () => {
    const journal = await openFileJournal(directory);
    await journal.append(sourceOpened("m-1"));
    await journal.close();
    const later = await openFileJournal(directory);
    const { stories } = await later.unfinished();
    expect(stories.map(({ migrationId }) => migrationId)).toEqual(["m-1"]);
    await later.forget("m-1");
    expect(await later.has("m-1")).toBe(false);
    await later.close();
    const last = await openFileJournal(directory);
    expect(await last.has("m-1")).toBe(false);
    await last.close();
  });

  test("is read again at a start when a side of an ended migration has continued", async () => {
    const journal = await openFileJournal(directory);
    // Several at once: the summaries of those that have ended are still being written while the others continue.
    const ids = Array.from({ length: 20 }, (_, index) => `m-${index}`);
    await Promise.all(
      ids.map(async (id) => {
        await arrive(journal, id);
        await journal.append(sourceOpened(id));
        await journal.append(stateOf(id, "source", "handedOver"));
      }),
    );
    await journal.close();
    const later = await openFileJournal(directory);
    const { stories } = await later.unfinished();
    expect(stories.map(({ migrationId }) => migrationId).toSorted()).toEqual(ids.toSorted());
    expect(await later.decisionOf("m-1")).toBe("taken");
    await later.close();
  });
});
