// Checks that a record which could not be written is reported so, and never counts later (G3): on full and on failing disks.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { openFileJournal } from "../../../../src/drivers/journal/file-journal.js";
import { readStory } from "../../../../src/drivers/journal/story.js";
import { destinationOpened, stateOf, uuid } from "../../../support/journal-records.js";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "journal-disk-"));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(directory, { recursive: true, force: true });
});

const first = stateOf("m-1", "source", "precopying");
const second = stateOf("m-1", "source", "pausing");
const long = stateOf("m-1", "source", "x".repeat(20_000));

describe("a disk that fails", () => {
  test("leaves nothing of a record behind, even when its removal fails at first", async () => {
    const journal = await openFileJournal(directory);
    await journal.append(first);
    const file = await open(join(directory, "m-1.journal"));
    const prototype: FileHandle = Object.getPrototypeOf(file);
    await file.close();
    const broken = Object.assign(new Error("EIO: i/o error"), { code: "EIO" });
    vi.spyOn(prototype, "datasync").mockRejectedValueOnce(broken);
    vi.spyOn(prototype, "truncate").mockRejectedValueOnce(broken);
    await expect(journal.append(long)).rejects.toMatchObject({ name: "JournalWriteError", kind: "failed" });
    await journal.append(second);
    await journal.close();
    expect((await readStory(join(directory, "m-1.journal"))).records).toEqual([first, second]);
  });
});

const canMount = process.getuid?.() === 0;
describe.skipIf(!canMount)(
  `a full disk${canMount ? "" : " (skipped: only root can mount a small one)"}`,
  () => {
    let disk: string;
    const fill = () =>
      execFileSync("sh", ["-c", `cat /dev/zero > ${join(disk, "ballast")} 2>/dev/null; true`]);
    const makeRoom = () => rmSync(join(disk, "ballast"));
    beforeEach(() => {
      disk = join(directory, "disk");
      execFileSync("mkdir", [disk]);
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]);
    });
    afterEach(() => {
      execFileSync("umount", [disk]);
    });

    test("makes the record and every queued one fail", async () => {
      const journal = await openFileJournal(disk);
      await journal.append(first);
      fill();
      const both = await Promise.allSettled([journal.append(long), journal.append(second)]);
      for (const one of both)
        expect(one).toMatchObject({
          status: "rejected",
          reason: { name: "JournalWriteError", kind: "diskFull" },
        });
      makeRoom();
      await journal.append(second);
      await journal.close();
      expect((await readStory(join(disk, "m-1.journal"))).records).toEqual([first, second]);
    });

    test("leaves nothing of a story that could not begin, which can begin once there is space", async () => {
      const journal = await openFileJournal(disk);
      fill();
      await expect(journal.append(first)).rejects.toMatchObject({ kind: "diskFull" });
      expect(readdirSync(disk)).not.toContain("m-1.journal");
      makeRoom();
      await journal.append(first);
      await journal.close();
      expect((await readStory(join(disk, "m-1.journal"))).records).toEqual([first]);
    });

    test("makes a tombstone fail, which gives no answer until it is durable", async () => {
      const journal = await openFileJournal(disk);
      const tombstone = (migrationId: string) =>
        ({ kind: "tombstone", migrationId, side: "destination", atMs: 1, uuid }) as const;
      fill();
      // The file's last page has space for some.
      const refusedId = await (async () => {
        for (let n = 0; ; n += 1) {
          const appended = await journal.append(tombstone(`m-${n}`)).catch((error: unknown) => error);
          if (appended !== undefined) {
            expect(appended).toMatchObject({ kind: "diskFull" });
            return `m-${n}`;
          }
        }
      })();
      expect(await journal.decisionOf(refusedId)).toBeNull();
      makeRoom();
      await journal.append(tombstone(refusedId));
      await journal.close();
      const later = await openFileJournal(disk);
      expect(await later.decisionOf(refusedId)).toBe("refused");
      await later.close();
    });

    test("keeps the end of a story whose summary did not fit: the next start reads the story", async () => {
      const journal = await openFileJournal(disk);
      await journal.append(destinationOpened("m-2"));
      fill();
      await journal.append(stateOf("m-2", "destination", "arrived"));
      expect(await journal.decisionOf("m-2")).toBe("taken");
      await journal.close();
      makeRoom();
      const later = await openFileJournal(disk);
      expect(await later.decisionOf("m-2")).toBe("taken");
      await later.close();
    });
  },
);
