// Checks that an unreadable story never counts as absent (G1): whatever is damaged, the journal reports it with its reason and
// its guest, and answers no query from it.

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openFileJournal } from "../../../../src/drivers/journal/file-journal.js";
import { version } from "../../../../src/drivers/journal/records.js";
import type { UnreadableStory } from "../../../../src/drivers/journal/unreadable.js";
import type { JournalRecord } from "../../../../src/effects/ports.js";
import {
  destinationOpened,
  lineWith,
  sourceOpened,
  stateOf,
  uuid,
} from "../../../support/journal-records.js";

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "journal-unreadable-"));
  path = join(directory, "m-1.journal");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function written(...records: readonly JournalRecord[]): Promise<void> {
  const journal = await openFileJournal(directory);
  for (const record of records) await journal.append(record);
  await journal.close();
}

async function onlyUnreadable(): Promise<UnreadableStory> {
  const journal = await openFileJournal(directory);
  try {
    const { stories, unreadable } = await journal.unfinished();
    expect(stories).toEqual([]);
    expect(await journal.has("m-1")).toBe(true);
    expect((await journal.find("m-1")).kind).toBe("unreadable");
    const [only] = unreadable;
    if (only === undefined || unreadable.length > 1)
      throw new Error(`${unreadable.length} stories are unreadable`);
    return only;
  } finally {
    await journal.close();
  }
}

const handedOver = [sourceOpened("m-1"), stateOf("m-1", "source", "handedOver")];

describe("a story that cannot be read", () => {
  test("is reported with its guest and its side, whichever single bit was flipped", async () => {
    await written(...handedOver);
    const whole = readFileSync(path);
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length * 8 - 1), async (bit) => {
        const damaged = Buffer.from(whole);
        const at = Math.floor(bit / 8);
        damaged[at] = (damaged[at] ?? 0) ^ (1 << (bit % 8));
        writeFileSync(path, damaged);
        const { reason, migrationId, guest, sides, isCertain } = await onlyUnreadable();
        expect(migrationId).toBe("m-1");
        expect(reason).toMatch(/damaged|no journal/);
        expect(sides).toContain("source");
        if (isCertain) expect(guest).toEqual({ uuid, name: "web-1" });
      }),
      { numRuns: 60 },
    );
  });

  test("is reported when it was cut in its middle and continued", async () => {
    await written(...handedOver);
    const text = readFileSync(path, "utf8");
    writeFileSync(path, text.slice(0, 400) + text.slice(450));
    expect((await onlyUnreadable()).guest.name).toBe("web-1");
  });

  test("is reported when it has a newer version, or holds a record that this version does not know", async () => {
    await written(...handedOver);
    const [head = "", ...rest] = readFileSync(path, "utf8").split("\n");
    writeFileSync(
      path,
      [lineWith(`{"kind":"journal","version":${version + 1}}`).trimEnd(), ...rest].join("\n"),
    );
    expect(await onlyUnreadable()).toMatchObject({
      reason: expect.stringContaining(`version ${version + 1}`),
      guest: { uuid, name: "web-1" },
      sides: ["source"],
      isCertain: true,
    });
    writeFileSync(path, [head, ...rest.slice(0, -1), lineWith('{"kind":"later"}')].join("\n"));
    expect((await onlyUnreadable()).reason).toContain("line 4");
  });

  test("gives no decision and no end, and accepts no tombstone: queries stay open", async () => {
    await written(destinationOpened("m-1"), stateOf("m-1", "destination", "resuming"));
    const damaged = readFileSync(path, "utf8").replace("resuming", "resumint");
    writeFileSync(path, damaged);
    const journal = await openFileJournal(directory);
    const questions = ["decisionOf", "hasArrived", "hasLeft", "endOfSource"] as const;
    for (const question of questions)
      await expect(journal[question]("m-1")).rejects.toMatchObject({ kind: "unreadable" });
    const tombstone = { kind: "tombstone", migrationId: "m-1", side: "destination", atMs: 1, uuid } as const;
    await expect(journal.append(tombstone)).rejects.toMatchObject({ kind: "unreadable" });
    expect(await journal.compact(0)).toEqual([]);
    await journal.close();
    expect(readFileSync(path, "utf8")).toBe(damaged);
  });

  test("keeps the decision that was recorded before the damage", async () => {
    await written(destinationOpened("m-1"), stateOf("m-1", "destination", "arrived"));
    writeFileSync(path, "hello\n");
    const journal = await openFileJournal(directory);
    expect(await journal.decisionOf("m-1")).toBe("taken");
    await journal.close();
  });
});

describe("a story of an older version", () => {
  test("is read, with defaults for fields that that version did not have", async () => {
    await written(...handedOver);
    const old = readFileSync(path, "utf8")
      .split("\n")
      .slice(0, -1)
      .map((line) =>
        line
          .slice(9)
          .replace(/"version":\d+/, '"version":2')
          .replace(/"diskBandwidthMiBps":\d+,/, "")
          .replace(/"reconnectMs":\d+,/, ""),
      );
    writeFileSync(path, old.map(lineWith).join(""));
    const journal = await openFileJournal(directory);
    const { stories, unreadable } = await journal.unfinished();
    expect(unreadable).toEqual([]);
    expect(stories[0]?.records).toEqual(handedOver);
    await journal.close();
    expect(readdirSync(directory)).toContain("m-1.journal");
  });
});
