// One engine, one journal: a lock file that names its holder, and is worth nothing once the holder is dead.

import { link, readFile, rename, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { identify, isAlive, type ProcessIdentity } from "../qemu/proc.js";

/** Returns what gives the lock back. @throws Error with the holder's pid when another process has it. */
export async function lock(directory: string): Promise<() => Promise<void>> {
  const path = join(directory, "lock");
  const own = `${path}.${process.pid}`;
  await writeFile(own, JSON.stringify(identify(process.pid)));
  try {
    for (;;) {
      if (await isLinked(own, path)) return () => unlink(path);
      const holder = await readFile(path, "utf8").catch(() => "");
      if (isHeld(holder))
        throw new Error(`process ${(JSON.parse(holder) as ProcessIdentity).pid} has it open`);
      // Whoever renames it away has the right to; a new holder's lock that was caught instead goes back.
      const caught = `${own}.stale`;
      await rename(path, caught).catch(() => {});
      if (isHeld(await readFile(caught, "utf8").catch(() => ""))) await isLinked(caught, path);
      await unlink(caught).catch(() => {});
    }
  } finally {
    await unlink(own);
  }
}

async function isLinked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  }
}

function isHeld(text: string): boolean {
  try {
    return isAlive(JSON.parse(text) as ProcessIdentity);
  } catch {
    return false;
  }
}
