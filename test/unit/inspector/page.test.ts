// The inspector's page in a real browser: running migrations on real QEMU, past ones from their journals, and the simulated
// world; by mouse and by keyboard, on a wide screen and a narrow one, in light and in dark.

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { openFileJournal } from "../../../src/drivers/journal/file-journal.js";
import { version } from "../../../src/drivers/journal/records.js";
import { lineOf } from "../../../src/drivers/platform/checked-lines.js";
import type { JournalRecord } from "../../../src/effects/ports.js";
import type { Observation } from "../../../src/effects/trace.js";
import { page as builtPage } from "../../../src/inspector/server/page-file.js";
import { type InspectorOptions, serveInspector } from "../../../src/inspector/server/serve.js";
import { withStories } from "../../../src/inspector/story/embed-stories.js";
import { storyTextOf } from "../../../src/inspector/story/story-text.js";
import { ToldWorld } from "../../../src/simulator/traced-world.js";
import { hindrances, look, whoRunsOn } from "../../support/browser.js";
import { destinationPid, inLab, memoryMoves } from "../../support/proof-guests.js";

async function serve(options: InspectorOptions = {}) {
  const inspector = await serveInspector(options);
  onTestFinished(() => inspector.close());
  return inspector;
}

function directory(): string {
  const text = mkdtempSync(join(tmpdir(), "inspector-"));
  onTestFinished(() => rmSync(text, { recursive: true, force: true }));
  return text;
}

const at = { migrationId: "m-1", because: [], undone: [], learned: {} };
const state = (
  side: "source" | "destination" | "coordinator",
  name: string,
  event: string,
  atMs: number,
): JournalRecord => ({
  kind: "state",
  ...at,
  side,
  state: name,
  event,
  atMs,
});
const journalOf = (records: readonly JournalRecord[]): string =>
  [{ kind: "journal", version }, ...records].map(lineOf).join("");
/** A source that retries again and again, as one does whose destination is unreachable. */
const asking = (count: number): JournalRecord[] =>
  Array.from({ length: count }, (_, index) =>
    index % 2 === 0
      ? state("source", "settling.asking", "xstate.after.backoff.source.settling.waiting", index * 10)
      : state("source", "settling.waiting", "xstate.done.actor.settle", index * 10),
  );

describe("a migration on real QEMU", () => {
  test("is drawn from its beginning to its end", async () => {
    const inspector = await serve();
    const page = await look(inspector.url);
    expect(await whoRunsOn(page)).toContain("No migration is selected");
    await inLab({}, async (lab) => {
      const migration = lab.migrate({ limits: { bandwidthMiBps: 24, maxDowntimeMs: 20 } }, inspector.observe);
      await memoryMoves(migration);
      await expect.poll(() => whoRunsOn(page)).toContain("The source runs the guest.");
      const source = page.getByRole("region", { name: "statechart of the source" });
      await expect.poll(() => source.locator(".lit").first().getAttribute("data-state")).toBe("precopying");
      await migration.setBandwidth(0);
      expect(await lab.ended(migration)).toMatchObject({ kind: "arrived" });
    });
    await expect.poll(() => whoRunsOn(page)).toContain("The destination runs the guest.");
    for (const [side, end] of [
      ["source", "left"],
      ["coordinator", "ended"],
      ["destination", "arrived"],
    ])
      await expect.poll(() => page.getByTestId(`state-${side}`).textContent()).toBe(end);
    const past = page.locator(".side.source .state.past .key");
    expect(await past.allTextContents()).toEqual(
      expect.arrayContaining(["beginning", "precopying", "handedOver", "killing"]),
    );
    const messages = page.getByRole("list", { name: "messages" }).getByRole("listitem");
    const said = await messages.evaluateAll((all) =>
      all.map((element) => element.getAttribute("aria-label") ?? ""),
    );
    expect(said.map((sentence) => /: the \w+ to the \w+: (\w+)/.exec(sentence)?.[1])).toEqual([
      "Begin",
      "Prepare",
      "Perform",
      "Finish",
      "Confirm",
    ]);
    expect(await page.locator("[data-guarantee].yes").count()).toBe(5);
    const monitors = page.getByRole("region", { name: "dialogue with QEMU", exact: true }).first();
    await monitors.getByRole("searchbox").fill("migrate-set-parameters");
    await expect
      .poll(() => monitors.locator(".what").first().textContent())
      .toContain("migrate-set-parameters");
    expect(await page.locator(".plot canvas").count(), "memory, rates and the pause are drawn").toBe(3);
  });

  test("that fails is shown with the place of the failure, QEMU's message, and what was undone", async () => {
    const inspector = await serve();
    const page = await look(inspector.url);
    await inLab({}, async (lab) => {
      const migration = lab.migrate({ limits: { bandwidthMiBps: 24, maxDowntimeMs: 20 } }, inspector.observe);
      await memoryMoves(migration);
      process.kill(destinationPid(lab), "SIGKILL");
      expect(await lab.ended(migration)).toMatchObject({ kind: "stayed" });
    });
    await expect.poll(() => page.getByTestId("state-coordinator").textContent()).toBe("ended");
    expect(await whoRunsOn(page)).toContain("The source runs the guest.");
    const failed = page.locator(".side.source .state.failed");
    expect(await failed.getAttribute("data-state")).toBe("precopying");
    expect(await failed.getAttribute("aria-label")).toContain("failed here");
    const failures = page.getByRole("region", { name: "failures" });
    expect(await failures.textContent()).toMatch(/perform, at the source/);
    expect(await failures.textContent()).toContain("the source resumed the guest");
    expect(await page.locator("[data-guarantee].no").count()).toBe(0);
  });
});

describe("a journal", () => {
  test("can be stepped through by keys, and shows the same at each moment each time", async () => {
    const path = directory();
    const journal = await openFileJournal(path);
    await inLab({}, async (lab) => {
      await lab.ended(lab.migrate({ journal }));
    });
    await journal.close();
    const inspector = await serve({ hub: null });
    const page = await look(inspector.url);
    const [file] = readdirSync(path).filter((text) => text.endsWith(".journal"));
    await page.getByLabel("open a journal").setInputFiles(join(path, file ?? ""));
    const place = page.getByTestId("place");
    await expect.poll(() => whoRunsOn(page)).toContain("The destination runs the guest.");
    await page.keyboard.press("Home");
    await expect.poll(() => place.textContent()).toMatch(/^entry 0 of/);
    const forth: string[] = [];
    for (let step = 0; step < 60; step += 1) {
      forth.push((await page.getByTestId("state-source").textContent()) ?? "");
      const before = await place.textContent();
      await page.keyboard.press("ArrowRight");
      if (await page.getByRole("button", { name: "next state" }).isDisabled()) break;
      await expect.poll(() => place.textContent()).not.toBe(before);
    }
    expect(forth).toContain("handedOver");
    const last = await page.getByTestId("state-source").textContent();
    for (let step = 0; step < 6; step += 1) await page.keyboard.press("ArrowLeft");
    for (let step = 0; step < 6; step += 1) await page.keyboard.press("ArrowRight");
    await expect.poll(() => page.getByTestId("state-source").textContent()).toBe(last);
  });

  test("that is damaged is refused with its line, and the page does not change", async () => {
    const text = journalOf([state("source", "beginning", "opened", 0), state("source", "begun", "x", 1)]);
    const whole = { name: "whole.journal", text };
    const inspector = await serve({ hub: null, stories: [whole] });
    const page = await look(inspector.url);
    await expect.poll(() => page.getByTestId("state-source").textContent()).toBe("begun");
    const damaged = join(directory(), "damaged.journal");
    writeFileSync(damaged, text.replace("beginning", "behinning"));
    await page.getByLabel("open a journal").setInputFiles(damaged);
    await expect
      .poll(() => page.getByRole("alert").textContent())
      .toContain("damaged.journal, line 2: checksum mismatch");
    expect(await page.getByTestId("state-source").textContent()).toBe("begun");
  });

  test("of 100,000 records needs as few elements as a short one", async () => {
    const records = [state("source", "handedOver", "monitor.completed", 0), ...asking(100_000)];
    const inspector = await serve({
      hub: null,
      stories: [{ name: "long.journal", text: journalOf(records) }],
    });
    const page = await look(inspector.url);
    await expect.poll(() => page.getByTestId("place").textContent()).toMatch(/of 100001/);
    const slider = page.getByRole("slider", { name: "moment of the story" });
    for (const wanted of [50_000, 3, 99_998, 70_001, 70_002]) {
      await slider.fill(String(wanted));
      await expect
        .poll(() => page.getByTestId("place").textContent())
        .toMatch(new RegExp(`^entry ${wanted} of`));
      const says = wanted % 2 === 0 ? "settling.asking" : "settling.waiting";
      expect(await page.getByTestId("state-source").textContent()).toBe(says);
      expect(await page.locator(".list .current .what").first().textContent(), "the list is there").toContain(
        says,
      );
    }
    expect(await page.locator("*").count()).toBeLessThan(6_000);
  });

  test("can be compared with another one, and shows where they differ", async () => {
    const both = [
      state("source", "beginning", "opened", 0),
      state("source", "begun", "x", 5),
      state("source", "precopying", "x", 9),
    ];
    const stories = [
      { name: "well.journal", text: journalOf([...both, state("source", "handedOver", "x", 20)]) },
      { name: "badly.journal", text: journalOf([...both, state("source", "cancelling", "x", 30)]) },
    ];
    const inspector = await serve({ hub: null, stories });
    const page = await look(inspector.url);
    await page.getByRole("button", { name: "compare" }).click();
    const table = page.getByRole("region", { name: "comparison" });
    expect(await table.locator("tr.removed th").allTextContents()).toEqual(["handedOver"]);
    expect(await table.locator("tr.added th").allTextContents()).toEqual(["cancelling"]);
    expect(await table.textContent()).toContain("coordinator: the same states");
  });
});

describe("one file", () => {
  test("with the page and a story is shown without a server, and can save itself again", async () => {
    const where = directory();
    const text = journalOf([state("source", "beginning", "</script><script>alert(1)</script>", 0)]);
    const path = join(where, "story.html");
    writeFileSync(path, withStories(builtPage().html, [{ name: "a.journal", text }]));
    const page = await look(`file://${path}`);
    await expect.poll(() => page.getByTestId("state-source").textContent()).toBe("beginning");
    const [saved] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: "save as a page" }).click(),
    ]);
    const again = join(where, "again.html");
    await saved.saveAs(again);
    const other = await look(`file://${again}`);
    await expect.poll(() => other.getByTestId("state-source").textContent()).toBe("beginning");
  });

  test("is small, and loads nothing else", () => {
    const { policy } = builtPage();
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/unsafe|https?:|\*/);
  });
});

describe("the simulated world", () => {
  test("can inject a fault at a step, and both sides handle it", async () => {
    const inspector = await serve({ hub: null });
    const page = await look(`${inspector.url}#simulate`);
    const next = page.getByRole("region", { name: "Next" }).getByRole("button");
    const fault = (name: string) =>
      page.getByRole("region", { name: "Faults" }).getByRole("button", { name, exact: true });
    for (let move = 0; move < 60; move += 1) {
      if (await fault("coordinator.askFinish: no answer comes in time").isVisible()) break;
      await next.first().click();
    }
    await fault("coordinator.askFinish: no answer comes in time").click();
    expect(await page.getByRole("list", { name: "messages" }).innerHTML()).toContain("lost");
    await page.getByRole("button", { name: "run to the end" }).click();
    await expect.poll(() => page.getByTestId("state-source").textContent()).toMatch(/^(left|stayed)$/);
    expect(await page.getByTestId("truth").textContent()).toContain("one copy runs");
    expect(await page.locator("[data-guarantee].no").count()).toBe(0);
    const end = await page.getByTestId("place").textContent();
    await page.getByRole("button", { name: "undo" }).click();
    await expect.poll(() => page.getByTestId("place").textContent()).not.toBe(end);
  });

  test("replays a counterexample of a search or a property", async () => {
    const told = new ToldWorld(1, {});
    for (let move = 0; move < 12; move += 1) {
      const calm = told.moves().find((move) => !move.fault);
      if (calm !== undefined) told.take(calm);
    }
    const { counterexample } = told.world.broken("G1: for the test's sake");
    const inspector = await serve({
      hub: null,
      stories: [{ name: "found.json", text: JSON.stringify(counterexample) }],
    });
    const page = await look(inspector.url);
    await expect.poll(() => page.getByTestId("place").textContent()).toMatch(/move 12$/);
    expect(await page.locator("main").textContent()).toContain(
      'the file reports "G1: for the test\'s sake", but these moves no longer violate a guarantee',
    );
  });
});

/** A migration whose destination was killed, with everything that was observed. */
let failed = "";
beforeAll(async () => {
  const seen: Observation[] = [];
  await inLab({}, async (lab) => {
    const migration = lab.migrate(
      { limits: { bandwidthMiBps: 24, maxDowntimeMs: 20 } },
      (observation) => void seen.push(observation),
    );
    await memoryMoves(migration);
    process.kill(destinationPid(lab), "SIGKILL");
    await lab.ended(migration);
  });
  failed = storyTextOf(seen);
});

describe.each([
  { width: 1600, scheme: "light" },
  { width: 1600, scheme: "dark" },
  { width: 390, scheme: "light" },
  { width: 390, scheme: "dark" },
] as const)("on a screen of $width px, $scheme", (look_) => {
  test("every element has a name, contrast and a landmark", async () => {
    const inspector = await serve({ hub: null, stories: [{ name: "failed.story", text: failed }] });
    const page = await look(inspector.url, look_);
    await expect.poll(() => page.getByTestId("state-source").textContent()).toBe("stayed");
    for (const view of ["watch", "compare", "simulate"]) {
      await page.getByRole("button", { name: view, exact: true }).click();
      expect(await hindrances(page), view).toEqual([]);
      const beyond = await page.evaluate<number>("document.documentElement.scrollWidth - innerWidth");
      expect(beyond, `${view} does not scroll sideways`).toBeLessThanOrEqual(0);
    }
  });

  test("the page can be used by keyboard alone", async () => {
    const inspector = await serve({ hub: null, stories: [{ name: "failed.story", text: failed }] });
    const page = await look(inspector.url, look_);
    await expect.poll(() => page.getByTestId("state-source").textContent()).toBe("stayed");
    const reached = new Set<string>();
    for (let tab = 0; tab < 40; tab += 1) {
      await page.keyboard.press("Tab");
      reached.add(
        await page.evaluate<string>(
          `document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent ?? ""`,
        ),
      );
    }
    for (const name of [
      "watch",
      "simulate",
      "moment of the story",
      "statechart of the source",
      "messages between the parties",
      "events",
    ])
      expect([...reached], `${name} is reached`).toContain(name);
  });
});

describe("the server", () => {
  const answerOf = async (url: string, headers: Readonly<Record<string, string>> = {}, method = "GET") => {
    const answer = await fetch(url, { headers, method });
    return { status: answer.status, text: await answer.text(), headers: answer.headers };
  };

  test("answers to loopback's names only, and is read-only", async () => {
    const { url } = await serve();
    const page = await answerOf(url);
    expect(page.status).toBe(200);
    expect(page.headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(await answerOf(url, {}, "POST")).toMatchObject({ status: 405 });
    expect(await answerOf(`${url}nowhere`)).toMatchObject({
      status: 404,
      text: "not found: /nowhere\n",
    });
    const status = await new Promise((resolve) =>
      request(url, { headers: { host: "evil.example" } }, (incomingMessage) =>
        resolve(incomingMessage.statusCode),
      ).end(),
    );
    expect(status, "a page of another origin that knows this address").toBe(403);
  });

  test("requires a token where other hosts can reach it", async () => {
    const { url } = await serve({ host: "0.0.0.0" });
    const there = url.replace("0.0.0.0", "127.0.0.1");
    expect(await answerOf(there)).toMatchObject({ status: 200 });
    expect(await answerOf(there.replace(/token=.*/, "token=guessed"))).toMatchObject({ status: 401 });
    expect(await answerOf(there.replace(/\?.*/, "api/migrations"))).toMatchObject({ status: 401 });
    const page = await look(there);
    await expect.poll(() => page.getByTestId("connection").textContent()).toBe("live");
  });
});
