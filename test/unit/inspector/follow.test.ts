// One page for several processes: an inspector that follows other inspectors.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { isRecord } from "../../../src/effects/trace.js";
import { Hub } from "../../../src/inspector/server/hub.js";
import { serveInspector } from "../../../src/inspector/server/serve.js";
import { followInspector } from "../../../src/inspector/story/remote-source.js";
import { ToldWorld } from "../../../src/simulator/traced-world.js";

/** The records of one side of a migration in the simulated world, as its process would see them. */
function seenBy(side: string) {
  const told = new ToldWorld(0, {});
  for (let move = told.moves().find((step) => step.rare === undefined); move !== undefined; ) {
    told.take(move);
    move = told.moves().find((step) => step.rare === undefined);
  }
  return told.entries
    .filter((entry) => entry.kind !== "move")
    .filter((entry) => entry.side === side || (side === "source" && entry.side === "coordinator"));
}

test("both hosts of a migration are on one page, also after a connection was lost", async () => {
  const directory = mkdtempSync(join(tmpdir(), "follow-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const hubs = { source: new Hub(), destination: new Hub() };
  const socket = join(directory, "inspector.sock");
  let source = await serveInspector({ hub: hubs.source });
  const destination = await serveInspector({ hub: hubs.destination, socket });
  const port = Number(new URL(source.url).port);
  onTestFinished(async () => {
    await source.close();
    await destination.close();
  });
  const [here, there] = [seenBy("source"), seenBy("destination")];
  const half = Math.floor(here.length / 2);
  for (const seen of here.slice(0, half)) hubs.source.observe(seen);
  for (const seen of there) hubs.destination.observe(seen);

  const both = new Hub();
  const said: string[] = [];
  const followings = [source.url, destination.url].map((url) =>
    followInspector(url, both.observe, (sentence) => said.push(sentence)),
  );
  onTestFinished(() => {
    for (const following of followings) following.stop();
  });
  const { migrationId = "" } = here[0] ?? {};
  const count = () => both.entries(migrationId, 0)?.entries.length ?? 0;
  await expect.poll(count).toBe(half + there.length);

  await source.close();
  for (const seen of here.slice(half)) hubs.source.observe(seen);
  source = await serveInspector({ hub: hubs.source, port });
  await expect.poll(count).toBe(here.length + there.length);
  expect(said.join(), "it is told that the connection was lost").toContain("retrying");
  const [summary] = both.summaries();
  expect(summary).toMatchObject({
    states: { source: "left", coordinator: "ended", destination: "arrived" },
    ended: true,
  });
  const ofSource = both
    .entries(migrationId, 0)
    ?.entries.filter((entry) => entry.side === "source" && isRecord(entry));
  expect(ofSource, "each once, in order").toEqual(
    here.filter((seen) => seen.side === "source" && isRecord(seen)),
  );
});

test("an invalid address of an inspector is refused", () => {
  expect(() =>
    followInspector(
      "qemu:///system",
      () => {},
      () => {},
    ),
  ).toThrow("is not an inspector's address");
});

test("a hub drops old lines first, and reports their number", () => {
  const hub = new Hub({ maxEntries: 100 });
  const line = {
    kind: "line",
    migrationId: "m",
    side: "source",
    monitor: "main",
    direction: "sent",
    text: "",
  } as const;
  for (let atMs = 0; atMs < 300; atMs += 1) {
    hub.observe({ ...line, atMs });
    if (atMs % 50 === 0)
      hub.observe({
        kind: "state",
        migrationId: "m",
        side: "source",
        atMs,
        state: `s${atMs}`,
        event: "e",
        because: [],
        undone: [],
        learned: {},
      });
  }
  const page = hub.entries("m", 0);
  expect(page?.entries.filter((entry) => entry.kind === "state").length, "records are all kept").toBe(6);
  expect(page?.entries.length).toBeLessThanOrEqual(101);
  expect(page?.next).toBe((page?.entries.length ?? 0) + (page?.forgotten ?? 0));
  expect(page?.next).toBe(306);
});

test("a hub drops old calls when nothing else is left, and keeps every record", () => {
  const hub = new Hub({ maxEntries: 100 });
  const source = { migrationId: "m", side: "source", call: 1, place: "settle" } as const;
  for (let atMs = 0; atMs < 500; atMs += 1) {
    if (atMs % 100 === 0)
      hub.observe({
        kind: "state",
        migrationId: "m",
        side: "source",
        atMs,
        state: `s${atMs}`,
        event: "e",
        because: [],
        undone: [],
        learned: {},
      });
    hub.observe({ kind: "call", ...source, atMs });
    hub.observe({ kind: "answer", ...source, atMs, answer: "unknown", says: "" });
  }
  const page = hub.entries("m", 0);
  expect(page?.entries.filter((entry) => entry.kind === "state").length).toBe(5);
  expect(page?.entries.length).toBeLessThanOrEqual(101);
});

test("a hub keeps running migrations, and the newest of those that have ended", () => {
  const hub = new Hub({ maxEnded: 3 });
  const state = (migrationId: string, name: string) =>
    hub.observe({
      kind: "state",
      migrationId,
      side: "source",
      atMs: 0,
      state: name,
      event: "e",
      because: [],
      undone: [],
      learned: {},
    });
  state("open", "precopying");
  for (let id = 0; id < 10; id += 1) state(`ended-${id}`, "left");
  const kept = hub.summaries().map((summary) => summary.migrationId);
  expect(kept).toContain("open");
  expect(kept).toContain("ended-9");
  expect(kept.length).toBeLessThanOrEqual(5);
});
