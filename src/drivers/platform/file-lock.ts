// Locks a journal directory for one process. The lock (flock(2)) belongs to an open file of this process: the kernel releases
// it when the process dies, however it dies, and it works across pid and network namespaces. See docs/decisions/0020.

import { spawn } from "node:child_process";
import { type FileHandle, open, readlink, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import * as z from "zod/mini";
import { messageOf } from "../../protocol/effect-result.js";
import { hasCode } from "./error-code.js";
import { identify, isAlive } from "./procfs.js";

const holderSchema = z.object({
  pid: z.number(),
  startTicks: z.number(),
  /** Absent in a lock file of an older version, whose lock lasts as long as its process. */
  host: z.exactOptional(z.string()),
  pidNamespace: z.exactOptional(z.string()),
});
type Holder = z.output<typeof holderSchema>;

/** Exit code of flock(1) when another process holds the lock. */
const isHeldCode = 1;

/** Returns a function that releases the lock. @throws Error with the holder's pid and host when another process holds it. */
export async function lock(directory: string): Promise<() => Promise<void>> {
  const path = join(directory, "lock");
  for (;;) {
    const file = await open(path, "a+", 0o600);
    try {
      if (!(await takeLock(file, path))) throw new Error(`${await describeHolder(file)} has it open`);
      // Retry when the file was replaced: an older version replaces it instead of locking it.
      if (!(await isStillAt(file, path))) {
        await file.close();
        continue;
      }
      const older = await holderIn(file);
      if (older !== null && older.host === undefined && older.pid !== process.pid && isAlive(older))
        throw new Error(`process ${older.pid} has it open`);
      await file.truncate();
      await file.appendFile(`${JSON.stringify(await ownHolder())}\n`);
    } catch (error) {
      await file.close().catch(() => {});
      throw error;
    }
    return async () => {
      await file.truncate();
      await file.close();
    };
  }
}

/**
 * Locks through flock(1), since Node has no flock(2). The child locks the open file that it inherits and exits; the lock
 * belongs to the open file, so that this process's descriptor keeps it.
 */
function takeLock(file: FileHandle, path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const flock = spawn("flock", ["-n", "-x", "3"], { stdio: ["ignore", "ignore", "pipe", file.fd] });
    let stderr = "";
    flock.stderr?.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    flock.once("error", (error) =>
      reject(
        new Error(
          `cannot lock ${path}: flock(1) (from util-linux or busybox) could not be started: ${messageOf(error)}`,
        ),
      ),
    );
    flock.once("close", (code) => {
      if (code === 0) resolve(true);
      else if (code === isHeldCode && stderr === "") resolve(false);
      else reject(new Error(`cannot lock ${path}: flock exited with ${code}: ${stderr.trim()}`));
    });
  });
}

async function isStillAt(file: FileHandle, path: string): Promise<boolean> {
  const opened = await file.stat();
  try {
    const there = await stat(path);
    return there.ino === opened.ino && there.dev === opened.dev;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  }
}

async function ownHolder(): Promise<Holder> {
  const { pid, startTicks } = identify(process.pid) ?? { pid: process.pid, startTicks: 0 };
  const pidNamespace = await ownPidNamespace();
  return { pid, startTicks, host: hostname(), ...(pidNamespace !== null && { pidNamespace }) };
}

const ownPidNamespace = (): Promise<string | null> => readlink("/proc/self/ns/pid").catch(() => null);

async function holderIn(file: FileHandle): Promise<Holder | null> {
  const bytes = Buffer.alloc(1_024);
  const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
  try {
    const parsed = holderSchema.safeParse(JSON.parse(bytes.toString("utf8", 0, bytesRead)));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}

async function describeHolder(file: FileHandle): Promise<string> {
  const holder = await holderIn(file);
  if (holder === null) return "another process";
  const where = [
    ...(holder.host !== undefined && holder.host !== hostname() ? [`on ${holder.host}`] : []),
    ...(holder.pidNamespace !== undefined && holder.pidNamespace !== (await ownPidNamespace())
      ? ["in another pid namespace"]
      : []),
  ];
  return [`process ${holder.pid}`, ...where].join(" ");
}
