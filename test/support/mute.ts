// Makes a QEMU in post-copy wait for a page, as a device that reads the guest's memory does: its main monitor does not answer
// until the page has arrived.

import { systemClock as clock } from "../../src/drivers/platform/clock.js";
import { connectMonitor } from "../../src/drivers/qemu/monitor/connect.js";
import { QmpTimeoutError } from "../../src/drivers/qemu/monitor/errors.js";
import { commandLine } from "./qemus-of.js";

/** No other client may be connected to its main monitor. @throws Error when all of its memory has arrived. */
export async function makeMute(pid: number, memoryBytes: number): Promise<void> {
  const path = /path=([^,]*\/main\.sock)/.exec(commandLine(`${pid}`).join(" "))?.[1];
  if (path === undefined) throw new Error(`process ${pid} has no main monitor`);
  let session: Awaited<ReturnType<typeof connectMonitor>>;
  try {
    session = await connectMonitor(path, { clock, oob: false, deadlineMs: 2_000 });
  } catch {
    // The guest has already made it wait.
    return;
  }
  const save = { val: 0, size: memoryBytes, filename: "/dev/null" };
  const answer = await session.execute("pmemsave", save, { limitMs: 2_000 }).catch((error: unknown) => error);
  session.close();
  if (!(answer instanceof QmpTimeoutError))
    throw new Error("all memory of the guest has arrived", { cause: answer });
}
