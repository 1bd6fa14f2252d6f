// Checks that stories that version 3 has begun are recovered: they were written by that version, and checked in unchanged.

import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { simulateGuest } from "../../../../bench/simulated-guest.js";
import { openFileJournal } from "../../../../src/drivers/journal/file-journal.js";
import { version } from "../../../../src/drivers/journal/records.js";
import {
  interrupted,
  readStory,
  wokenDestination,
  wokenSource,
} from "../../../../src/drivers/journal/story.js";
import { systemClock } from "../../../../src/drivers/platform/clock.js";
import { openDestination, openSource } from "../../../../src/effects/actors.js";
import type { SettlingPeer, SourceGuest } from "../../../../src/effects/ports.js";
import { readStoryText } from "../../../../src/inspector/story/story-text.js";
import { hasTag, metaIn } from "../../../../src/machines/shared/states.js";
import { done, nothing, unknown } from "../../../../src/protocol/effect-result.js";

const written = fileURLToPath(new URL("version-3/", import.meta.url));
const source = "version-3-source";
const destination = "version-3-destination";
let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "journal-test-"));
  for (const id of [source, destination])
    copyFileSync(join(written, `${id}.journal`), join(directory, `${id}.journal`));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function storyOf(migrationId: string) {
  const journal = await openFileJournal(directory);
  const { stories, unreadable } = await journal.unfinished();
  expect(unreadable).toEqual([]);
  const story = stories.find((one) => one.migrationId === migrationId);
  if (story === undefined) throw new Error("the story was not found");
  return { journal, story };
}

const noAnswer = async () => unknown("not asked for");
const refusing: SettlingPeer = {
  settle: async () => done("refused"),
  concede: noAnswer,
  announcePostcopy: async () => nothing,
  handOver: noAnswer,
  reconnect: noAnswer,
};

test("a source of version 3 that had announced post-copy and aborted retracts it, and stays", async () => {
  const { journal, story } = await storyOf(source);
  const found = interrupted(story, "source");
  if (found === null) throw new Error("the source's story has not begun");
  const untouched: SourceGuest = {
    ...simulateGuest(found.opened.input.identity.uuid, 1).source,
    restore: () => Promise.reject(new Error("the guest was already restored")),
  };
  const { actor, durable } = openSource(
    { journal, clock: systemClock },
    wokenSource(found),
    untouched,
    refusing,
    null,
  );
  const ended = new Promise<string | undefined>((resolve) =>
    actor.subscribe({ complete: () => resolve(actor.getSnapshot().output?.outcome) }),
  );
  actor.start();
  expect(await ended).toBe("stayed");
  await durable();
  await journal.close();
});

test("a destination of version 3 that runs its guest in post-copy continues to fetch its memory, and arrives", async () => {
  const { journal, story } = await storyOf(destination);
  const found = interrupted(story, "destination");
  if (found === null) throw new Error("the destination's story has not begun");
  const guest = simulateGuest(found.opened.input.identity.uuid, 1).destination;
  const { actor, durable } = openDestination(
    { journal, clock: systemClock },
    wokenDestination(found),
    { ...guest, probe: async () => done("runs") },
    null,
  );
  const ended = new Promise<string | undefined>((resolve) =>
    actor.subscribe({ complete: () => resolve(actor.getSnapshot().output?.outcome) }),
  );
  actor.start();
  expect(actor.getSnapshot().hasTag("taken")).toBe(true);
  expect(await ended).toBe("arrived");
  await durable();
  await journal.close();
});

test.each([
  ["source", source],
  ["destination", destination],
] as const)("this version knows every state that a %s of version 3 can have recorded", async (side, id) => {
  const { records } = await readStory(join(written, `${id}.journal`));
  const states = records.flatMap((record) => (record.kind === "state" ? record.state : []));
  expect(states.length).toBeGreaterThan(5);
  for (const state of states) expect([state, metaIn(side, state).guest]).toEqual([state, expect.any(String)]);
});

test("the last decision of a destination of version 3 is known", async () => {
  const journal = await openFileJournal(directory);
  expect(await journal.decisionOf(destination)).toBe("taken");
  await journal.close();
  const { records } = await readStory(join(written, `${destination}.journal`));
  const last = records.findLast((record) => record.kind === "state");
  expect(hasTag("destination", last?.state ?? "", "taken")).toBe(true);
});

test("a story of version 3 that continues in this version records the change, and is read as one story", async () => {
  const { journal, story } = await storyOf(source);
  await journal.append({
    kind: "state",
    migrationId: source,
    side: "source",
    atMs: 1,
    state: "stayed",
    event: "engine.restarted",
    because: [],
    undone: [],
    learned: {},
  });
  await journal.close();
  const path = join(directory, `${source}.journal`);
  const after = await readStory(path);
  expect(after.version).toBe(version);
  expect(after.records).toHaveLength(story.records.length + 1);
  const read = readStoryText(path, readFileSync(path, "utf8"));
  expect(read).toMatchObject({ kind: "story", entries: after.records });
  const headers = readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line.includes('"kind":"journal"'));
  expect(headers).toHaveLength(version > 3 ? 2 : 1);
});
