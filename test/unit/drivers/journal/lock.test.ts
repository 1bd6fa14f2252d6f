// Checks that one process holds a journal directory, whatever namespaces the processes are in, and that the kernel releases it.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openFileJournal } from "../../../../src/drivers/journal/file-journal.js";
import { identify } from "../../../../src/drivers/platform/procfs.js";
import { patienceMs } from "../../../support/patience.js";
import { programArguments } from "../../../support/programs.js";

let directory: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "journal-lock-"));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(directory, { recursive: true, force: true });
});

const holder = programArguments("journal-holder");
/** Starts another process that opens the journal below `within`; resolves to its first line. */
async function opener(...within: readonly string[]): Promise<{ child: ChildProcess; says: string }> {
  const [program = process.execPath, ...words] = [...within, process.execPath, ...holder, directory];
  const child = spawn(program, words, { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  const [chunk] = await once(child.stdout ?? child, "data");
  return { child, says: String(chunk).trim() };
}

const newPidNamespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
const hasNamespaces = (() => {
  try {
    execFileSync(newPidNamespace[0] ?? "", [...newPidNamespace.slice(1), "true"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

describe("the lock of a journal directory", () => {
  test("is refused to a second process, and free as soon as the first is killed", async () => {
    const first = await opener();
    expect(first.says).toBe("open");
    await expect(openFileJournal(directory)).rejects.toThrow(`process ${first.child.pid} has it open`);
    first.child.kill("SIGKILL");
    await once(first.child, "exit");
    await (await openFileJournal(directory)).close();
  });

  test("has one holder when many open the directory at once", async () => {
    const tries = Array.from({ length: 8 }, () => openFileJournal(directory));
    const settled = await Promise.allSettled(tries);
    const opened = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    expect(opened).toHaveLength(1);
    await opened[0]?.close();
  });

  test.skipIf(!hasNamespaces)(
    "is refused to a process in another pid namespace, and free when the holder there is killed",
    async () => {
      const first = await opener(...newPidNamespace);
      expect(first.says).toBe("open");
      await expect(openFileJournal(directory)).rejects.toThrow(
        /process \d+ in another pid namespace has it open/,
      );
      expect((await opener(...newPidNamespace)).says).toContain("has it open");
      first.child.kill("SIGKILL");
      await once(first.child, "exit");
      // unshare(1) ends before the kernel has ended its child.
      await expect
        .poll(
          async () => {
            const journal = await openFileJournal(directory).catch(() => null);
            await journal?.close();
            return journal !== null;
          },
          { timeout: patienceMs },
        )
        .toBe(true);
    },
  );

  test("is not inherited by the processes that the holder starts", async () => {
    const journal = await openFileJournal(directory);
    const child = spawn("sleep", ["60"]);
    children.push(child);
    await once(child, "spawn");
    await journal.close();
    await (await openFileJournal(directory)).close();
  });

  test("is refused while an engine of an older version, which locks by the file's content, lives", async () => {
    const older = spawn("sleep", ["60"]);
    children.push(older);
    await once(older, "spawn");
    const path = join(directory, "lock");
    writeFileSync(path, JSON.stringify(identify(older.pid ?? 0)));
    const content = readFileSync(path, "utf8");
    await expect(openFileJournal(directory)).rejects.toThrow(`process ${older.pid} has it open`);
    expect(readFileSync(path, "utf8")).toBe(content);
    older.kill("SIGKILL");
    await once(older, "exit");
    await (await openFileJournal(directory)).close();
  });
});
