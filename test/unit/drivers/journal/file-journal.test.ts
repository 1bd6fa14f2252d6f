// Checks the basis of G3: a journal keeps every record that it has reported as durable, and reports what it cannot read.

import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { openFileJournal } from "../../../../src/drivers/journal/file-journal.js";
import { readStory } from "../../../../src/drivers/journal/story.js";
import type { JournalRecord, StateRecord } from "../../../../src/effects/ports.js";
import { defaultLimits } from "../../../../src/protocol/convergence/limits.js";
import { defaultDeadlines } from "../../../../src/protocol/deadlines.js";
import { defaultPolicy } from "../../../../src/protocol/unreachable-policy.js";
import { patienceMs } from "../../../support/patience.js";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "journal-test-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const state = (name: string, more: Partial<StateRecord> = {}): JournalRecord => ({
  kind: "state",
  migrationId: "m-1",
  side: "source",
  atMs: 1,
  state: name,
  event: "test",
  because: [],
  undone: [],
  learned: {},
  ...more,
});

async function written(...records: readonly JournalRecord[]): Promise<string> {
  const journal = await openFileJournal(directory);
  for (const record of records) await journal.append(record);
  await journal.close();
  return join(directory, "m-1.journal");
}

describe("a journal on disk", () => {
  test("returns records in the order of writing, also with many concurrent writers", async () => {
    const journal = await openFileJournal(directory);
    const records = Array.from({ length: 200 }, (_, n) => state(`state ${n}`));
    await Promise.all(records.map((record) => journal.append(record)));
    await journal.close();
    expect(await readStory(join(directory, "m-1.journal"))).toMatchObject({ records, torn: null });
  });

  test("reports a record as durable when it is on the disk, not when it is written", async () => {
    const journal = await openFileJournal(directory);
    await journal.append(state("a"));
    const file = await open(join(directory, "m-1.journal"));
    const prototype: FileHandle = Object.getPrototypeOf(file);
    await file.close();
    let reachDisk = () => {};
    const datasync = vi.spyOn(prototype, "datasync").mockImplementation(
      () =>
        new Promise<void>((resolve) => {
          reachDisk = resolve;
        }),
    );
    let durable = false;
    const appended = journal.append(state("b")).then(() => {
      durable = true;
    });
    await vi.waitUntil(() => datasync.mock.calls.length > 0, patienceMs);
    expect(durable).toBe(false);
    reachDisk();
    await appended;
    datasync.mockRestore();
    await journal.close();
  });

  test("is open in one process at a time, and free again when that process has died", async () => {
    const journal = await openFileJournal(directory);
    const again = openFileJournal(directory);
    await expect(again).rejects.toThrow(`process ${process.pid} has it open`);
    await journal.close();
    writeFileSync(join(directory, "lock"), JSON.stringify({ pid: process.pid, startTicks: 1 }));
    await (await openFileJournal(directory)).close();
    expect(readdirSync(directory).toSorted()).toEqual(["decisions", "format", "identity", "lock"]);
  });

  test("continues after a crash, without its torn end", async () => {
    const path = await written(state("a"), state("b"));
    appendFileSync(path, '12345678 {"kind":"sta');
    const journal = await openFileJournal(directory);
    const { stories, unreadable } = await journal.unfinished();
    expect(unreadable).toEqual([]);
    expect(stories).toMatchObject([{ migrationId: "m-1", records: [state("a"), state("b")] }]);
    await journal.append(state("c"));
    await journal.close();
    expect(await readStory(path)).toMatchObject({
      records: ["a", "b", "c"].map((text) => state(text)),
      torn: null,
    });
  });

  test("reports a file that it cannot read, and recovers the others", async () => {
    await written(state("a"));
    writeFileSync(join(directory, "other.journal"), "hello\nworld\n");
    const journal = await openFileJournal(directory);
    const { stories, unreadable } = await journal.unfinished();
    expect(stories).toHaveLength(1);
    expect(unreadable[0]?.message).toContain("other.journal, line 1: the checksum does not match");
    await journal.close();
  });

  test("keeps a failure's message, with QEMU's own text in any script", async () => {
    const because = [
      { code: "qemu", step: "perform", side: "source", message: "zwei\nZeilen", qemu: ["数", "\u2028"] },
    ] as const;
    const path = await written(state("restoring", { because }));
    expect((await readStory(path)).records).toEqual([state("restoring", { because })]);
  });

  test("loses only incomplete lines when it is cut off at any byte, and reports so", async () => {
    const path = await written(...["a", "b", "c"].map((text) => state(text)));
    const whole = readFileSync(path);
    const lines = whole.toString().split("\n").length - 1;
    const head = whole.indexOf("\n") + 1;
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: head, max: whole.length }), async (length) => {
        writeFileSync(path, whole.subarray(0, length));
        const { records, torn } = await readStory(path);
        const kept = whole.subarray(0, length).toString();
        expect(records.length).toBe(kept.split("\n").length - 2);
        expect(torn === null).toBe(kept.endsWith("\n"));
      }),
    );
    expect(lines).toBe(4);
  });

  test("refuses a file in which any byte was changed, also in its last line", async () => {
    const path = await written(...["a", "b", "c"].map((text) => state(text)));
    const whole = readFileSync(path);
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const changed = Buffer.from(whole);
        changed[at] = (changed[at] ?? 0) ^ change;
        writeFileSync(path, changed);
        await expect(readStory(path)).rejects.toThrow(/damaged|no journal/);
      }),
    );
  });

  test("refuses a file of another version, and one that is not a journal, by name", async () => {
    const path = await written(state("a"));
    const text = '{"kind":"journal","version":1}';
    const { crc32 } = await import("node:zlib");
    writeFileSync(path, `${crc32(text).toString(16).padStart(8, "0")} ${text}\n`);
    await expect(readStory(path)).rejects.toThrow(/version 1; this switchover reads versions 2 to \d+/);
    writeFileSync(path, "hello\nworld\n");
    await expect(readStory(path)).rejects.toThrow(path);
  });

  test("never opens an existing file for a new story", async () => {
    await written(state("a"));
    const journal = await openFileJournal(directory);
    await expect(journal.append(state("b"))).rejects.toThrow("EEXIST");
    await journal.close();
  });

  test("refuses a migration id that would leave its directory", async () => {
    const journal = await openFileJournal(directory);
    await expect(journal.append(state("a", { migrationId: "../x" }))).rejects.toThrow(
      "cannot be used as the name",
    );
    await journal.close();
  });

  test("closes the file of a migration that has ended, and keeps later records about it", async () => {
    const journal = await openFileJournal(directory);
    const openFiles = () =>
      readdirSync("/proc/self/fd").filter((file) => {
        try {
          return readlinkSync(`/proc/self/fd/${file}`).endsWith(".journal");
        } catch {
          return false;
        }
      }).length;
    const identity = { migrationId: "m-1", uuid: "u", name: "guest" };
    const [deadlines, policy] = [defaultDeadlines, defaultPolicy];
    const guest = { uuid: "u", guestWas: "running", qemuVersion: "", memoryBytes: 1 } as const;
    const opened = { kind: "opened", migrationId: "m-1", atMs: 1, host: null } as const;
    await journal.append({
      ...opened,
      side: "source",
      input: { identity, limits: defaultLimits, deadlines, policy },
    });
    await journal.append({
      ...opened,
      side: "destination",
      input: { identity, guest: { ...guest, capabilities: [], disks: [], fencingToken: null }, deadlines },
    });
    await journal.append(state("left"));
    expect(openFiles()).toBe(1);
    await journal.append(state("arrived", { side: "destination" }));
    expect(openFiles()).toBe(0);
    await Promise.all([journal.append(state("left")), journal.append(state("left"))]);
    expect(openFiles()).toBe(0);
    expect((await readStory(join(directory, "m-1.journal"))).records).toHaveLength(6);
    await journal.close();
  });

  test("compacts stories that have ended, and keeps those that have not or need an operator", async () => {
    const journal = await openFileJournal(directory);
    const endings = { old: "left", new: "stayed", open: "precopying", hurt: "stuck" };
    for (const [migrationId, name] of Object.entries(endings))
      await journal.append(state(name, { migrationId }));
    expect(await journal.compact(1)).toHaveLength(1);
    await journal.close();
    const later = await openFileJournal(directory);
    expect(await later.compact(0)).toHaveLength(1);
    await later.close();
    const stories = readdirSync(directory).filter((name) => name.endsWith(".journal"));
    expect(stories.toSorted()).toEqual(["hurt.journal", "open.journal"]);
  });

  test("keeps a destination's decision for good, even when its story was removed", async () => {
    const journal = await openFileJournal(directory);
    const destination = (migrationId: string, name: string) =>
      state(name, { migrationId, side: "destination" });
    for (const record of [
      destination("m-a", "arrived"),
      destination("m-r", "refused"),
      destination("m-o", "receiving"),
    ])
      await journal.append(record);
    await journal.append({ kind: "tombstone", migrationId: "m-t", side: "destination", atMs: 1 });
    const all = (fileJournal: typeof journal) =>
      Promise.all(["m-a", "m-r", "m-t", "m-o", "m-never"].map((id) => fileJournal.decisionOf(id)));
    const decided = ["taken", "refused", "refused", null, null];
    expect(await all(journal)).toEqual(decided);
    await journal.close();
    const compacted = await openFileJournal(directory);
    expect(await compacted.compact(0)).toHaveLength(2);
    expect(await all(compacted)).toEqual(decided);
    await compacted.close();
    // The state that a crash in the middle of the next one leaves.
    appendFileSync(join(directory, "decisions"), "0123");
    const later = await openFileJournal(directory);
    expect(await all(later)).toEqual(decided);
    await later.append(destination("m-b", "arrived"));
    await later.close();
    const last = await openFileJournal(directory);
    await last.compact(0);
    expect(await last.decisionOf("m-b")).toBe("taken");
    await last.close();
    writeFileSync(
      join(directory, "decisions"),
      readFileSync(join(directory, "decisions"), "utf8").replace("taken", "refused"),
    );
    await expect(openFileJournal(directory)).rejects.toThrow(/decisions, line \d: .*damaged/);
  });
});

const canMount = process.getuid?.() === 0;
describe.skipIf(!canMount)(
  `a full disk${canMount ? "" : " (skipped: only root can mount a small one)"}`,
  () => {
    let disk: string;
    beforeEach(() => {
      disk = join(directory, "disk");
      execFileSync("mkdir", [disk]);
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=16k", "tmpfs", disk]);
    });
    afterEach(() => {
      execFileSync("umount", [disk]);
    });

    test("makes the append fail, leaves no partial line, and accepts the next one once there is space", async () => {
      const journal = await openFileJournal(disk);
      await journal.append(state("first"));
      const ballast = join(disk, "ballast");
      execFileSync("sh", ["-c", `cat /dev/zero > ${ballast} 2>/dev/null; true`]);
      const long = "x".repeat(5_000);
      await expect(journal.append(state(long))).rejects.toThrow("ENOSPC");
      rmSync(ballast);
      await journal.append(state("last"));
      await journal.close();
      const { records, torn } = await readStory(join(disk, "m-1.journal"));
      expect(records).toEqual([state("first"), state("last")]);
      expect(torn).toBeNull();
    });
  },
);
