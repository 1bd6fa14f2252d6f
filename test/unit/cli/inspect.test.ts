// The command that shows migrations: a running one, a past one from a file, and one as a single file to be shared.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { readStoryText } from "../../../src/inspector/story/story-text.js";
import { programArguments } from "../../support/programs.js";

function directory(): string {
  const text = mkdtempSync(join(tmpdir(), "inspect-"));
  onTestFinished(() => rmSync(text, { recursive: true, force: true }));
  return text;
}

function switchover(...words: readonly string[]) {
  const child: ChildProcess = spawn(process.execPath, [...programArguments("switchover"), ...words], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const run = { child, said: "", code: once(child, "close").then(([code]) => Number(code)) };
  for (const readable of [child.stdout, child.stderr])
    readable?.on("data", (text) => {
      run.said += text;
    });
  return run;
}

const urlIn = (said: string): string | undefined => /http:\/\/127\.0\.0\.1:\d+\//.exec(said)?.[0];

test("a migration is served while it runs and stays until Ctrl-C, and its story is saved", async () => {
  const path = join(directory(), "a.story");
  const run = switchover("migrate", "--inspect", "--save-story", path, "--bandwidth", "64");
  await expect.poll(() => run.said).toContain("still serving");
  const url = urlIn(run.said) ?? "";
  expect((await fetch(url)).status).toBe(200);
  run.child.kill("SIGINT");
  expect(await run.code, run.said).toBe(0);
  const story = readStoryText(path, readFileSync(path, "utf8"));
  if (story.kind !== "story") throw new Error("the saved file is not a story");
  const kinds = new Set(story.entries.map((entry) => entry.kind));
  expect([...kinds].sort()).toEqual(
    expect.arrayContaining(["answer", "call", "line", "opened", "progress", "state"]),
  );

  const page = join(directory(), "a.html");
  const saved = switchover("inspect", path, "--save", page);
  expect(await saved.code, saved.said).toBe(0);
  expect(readFileSync(page, "utf8")).toContain('"name":"a.story"');

  const served = switchover("inspect", path);
  await expect.poll(() => urlIn(served.said)).toBeDefined();
  const given = await (await fetch(`${urlIn(served.said)}api/stories`)).json();
  expect(given).toMatchObject({ live: false, stories: [{ name: "a.story" }] });
  served.child.kill("SIGTERM");
  expect(await served.code).toBe(0);
});

test.each([
  [["inspect", "/nowhere/a.journal"], "/nowhere/a.journal cannot be read"],
  [["inspect", "--save", "/tmp/never.html"], "--save requires a story"],
  [["inspect", "--watch", "qemu:///system"], "inspector's address"],
  [["inspect", "--port", "lots"], "ot a number"],
] as const)("refuses %j with a clear word and exit 2", async (words, why) => {
  const run = switchover(...words);
  expect(await run.code).toBe(2);
  expect(run.said).toContain(why);
});

test("a file that is not a story is refused with its name and line", async () => {
  const path = join(directory(), "b.story");
  writeFileSync(path, '{"kind":"story","version":1}\n{"kind":"answer"}\n');
  const run = switchover("inspect", path);
  expect(await run.code).toBe(2);
  expect(run.said).toContain(`${path}, line 2:`);
});
