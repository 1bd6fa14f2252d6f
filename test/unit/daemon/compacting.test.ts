// Checks that a daemon keeps its journal within the configured limits (G6), and keeps final decisions (G1).

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { completeConfig } from "../../../src/daemon/config.js";
import { compacting } from "../../../src/daemon/journal-compaction.js";
import { openFileJournal } from "../../../src/drivers/journal/file-journal.js";
import { destinationOpened, stateOf } from "../../support/journal-records.js";

const dayMs = 86_400_000;
const hostUuid = "8a2b6c1e-0f4d-4c55-9d0a-2f1e7c9b3a10";

test("a daemon removes stories beyond the configured count and age, at its start and later, and keeps every decision", async () => {
  const directory = mkdtempSync(join(tmpdir(), "compacting-"));
  const journal = await openFileJournal(directory);
  const arrive = async (migrationId: string, atMs: number) => {
    await journal.append(destinationOpened(migrationId));
    await journal.append(stateOf(migrationId, "destination", "arrived", { atMs }));
  };
  const stories = () => readdirSync(directory).filter((name) => name.endsWith(".journal"));
  let nowMs = 100 * dayMs;
  let tick = () => {};
  const clock = {
    now: () => nowMs,
    setTimeout: (run: () => void) => {
      tick = run;
    },
    clearTimeout: () => {
      tick = () => {};
    },
  };
  const config = await completeConfig({ hostUuid, journal: { keepStories: 3, keepDays: 2 } });
  for (const day of [90, 97, 98.5, 99, 99.5, 100]) await arrive(`m-${day * 10}`, day * dayMs);
  const complaints: string[] = [];
  const stop = compacting({ config, journal, clock, warn: (sentence) => complaints.push(sentence) });
  await expect.poll(stories).toHaveLength(3);
  expect(stories().toSorted()).toEqual(["m-1000.journal", "m-990.journal", "m-995.journal"]);
  nowMs = 101.2 * dayMs;
  tick();
  await expect.poll(stories).toHaveLength(2);
  await stop();
  for (const id of ["m-900", "m-970", "m-985", "m-990", "m-995", "m-1000"])
    expect(await journal.decisionOf(id)).toBe("taken");
  expect(complaints).toEqual([]);
  await journal.close();
  rmSync(directory, { recursive: true });
});

test("a daemon's configuration keeps 1000 stories for 90 days by default", async () => {
  const { journal } = await completeConfig({ hostUuid });
  expect(journal).toEqual({ keepStories: 1_000, keepDays: 90 });
});
