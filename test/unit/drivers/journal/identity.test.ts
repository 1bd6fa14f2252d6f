// Checks that a journal directory has an identity for as long as it lives, and that a newer format is refused (G1).

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openFileJournal } from "../../../../src/drivers/journal/file-journal.js";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "journal-identity-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function identityOf(): Promise<string> {
  const journal = await openFileJournal(directory);
  await journal.close();
  return journal.identity;
}

describe("the identity of a journal directory", () => {
  test("is created at the first start, kept at every later one, and readable by its owner only", async () => {
    const identity = await identityOf();
    expect(identity).toMatch(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/);
    expect(await identityOf()).toBe(identity);
    expect(statSync(join(directory, "identity")).mode & 0o777).toBe(0o600);
  });

  test("is a new one when the directory was lost", async () => {
    const identity = await identityOf();
    rmSync(directory, { recursive: true });
    expect(await identityOf()).not.toBe(identity);
  });

  test("is created for a directory of an older version, whose decisions are kept", async () => {
    const { crc32 } = await import("node:zlib");
    const text = '{"migrationId":"m-old","decision":"taken"}';
    writeFileSync(join(directory, "decisions"), `${crc32(text).toString(16).padStart(8, "0")} ${text}\n`);
    const journal = await openFileJournal(directory);
    expect(await journal.decisionOf("m-old")).toBe("taken");
    await journal.close();
    expect(await identityOf()).toBe(journal.identity);
  });

  test("is not replaced when its file is damaged: the start is refused", async () => {
    await identityOf();
    const path = join(directory, "identity");
    writeFileSync(path, readFileSync(path, "utf8").slice(0, 20));
    await expect(identityOf()).rejects.toThrow(`${path} does not contain a uuid`);
  });
});

describe("the format version of a journal directory", () => {
  test("refuses the start when it is newer, and names the directory, both versions and what to do", async () => {
    await identityOf();
    writeFileSync(join(directory, "format"), "3\n");
    await expect(identityOf()).rejects.toThrow(
      `the journal directory ${directory} has the format version 3; this switchover reads versions up to 2. Start the newer switchover`,
    );
    writeFileSync(join(directory, "format"), "2\n");
    await identityOf();
  });

  test("refuses the start when it cannot be read", async () => {
    await identityOf();
    writeFileSync(join(directory, "format"), "x\n");
    await expect(identityOf()).rejects.toThrow("does not contain a format version");
  });
});
