import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { systemClock as clock } from "../../../../src/drivers/platform/clock.js";
import { identify, isAlive } from "../../../../src/drivers/platform/procfs.js";
import {
  QmpCommandError,
  QmpTimeoutError,
  QmpUnsentError,
} from "../../../../src/drivers/qemu/monitor/errors.js";
import { QemuGoneError, QemuProcess } from "../../../../src/drivers/qemu/process/process.js";

const spec = () => ({
  name: "attach",
  uuid: randomUUID(),
  args: ["-machine", "none", "-nodefaults", "-display", "none", "-S"],
});
let started: QemuProcess | undefined;
afterEach(async () => {
  started?.signal("SIGKILL");
  await started?.exited;
  started = undefined;
});

/** Simulates the death of another engine: its connections are closed, and its QEMU lives on. */
function abandoned(qemu: QemuProcess) {
  qemu.release();
  return qemu.handle;
}

describe("a QEMU that is found again", () => {
  test("answers as before, and its death is reported with its last stderr output", async () => {
    started = await QemuProcess.start(spec(), { clock });
    const qemu = await QemuProcess.attach(abandoned(started), { clock });
    expect(qemu.rescue.session.hasOob).toBe(true);
    expect(await qemu.main.execute("query-status", {})).toMatchObject({ running: false });
    qemu.signal("SIGKILL");
    expect((await qemu.exited).message).toContain(`pid ${qemu.pid}`);
  });

  test("is not confused with another process that now has its pid", async () => {
    started = await QemuProcess.start(spec(), { clock });
    const handle = abandoned(started);
    const older = { ...handle, startTicks: handle.startTicks - 1, directory: null };
    await expect(QemuProcess.attach(older, { clock })).rejects.toBeInstanceOf(QemuGoneError);
    expect(isAlive(handle), "nothing has been done to it").toBe(true);
  });

  test("counts as gone when it has died in the meantime", async () => {
    started = await QemuProcess.start(spec(), { clock });
    const handle = abandoned(started);
    started.signal("SIGKILL");
    await started.exited;
    await expect(QemuProcess.attach(handle, { clock })).rejects.toBeInstanceOf(QemuGoneError);
  });
});

describe("a QEMU whose main loop hangs, as in a page fault of post-copy", () => {
  /** Blocks its main loop until the returned function is called. */
  async function hung(qemu: QemuProcess): Promise<() => Promise<void>> {
    const pipe = join(qemu.handle.directory ?? "", "hang");
    execFileSync("mkfifo", [pipe]);
    // QEMU opens the pipe to write to it, which waits for a reader.
    void qemu.main.session
      .execute("pmemsave", { val: 0, size: 1, filename: pipe }, { limitMs: 60_000 })
      .catch(() => {});
    await expect(qemu.main.execute("query-status", {}, { limitMs: 300 })).rejects.toThrow(QmpTimeoutError);
    return async () => void (await readFile(pipe));
  }

  test("is found again by its second monitor, and the first one answers when the main loop continues", async () => {
    started = await QemuProcess.start(spec(), { clock });
    const goOn = await hung(started);
    const qemu = await QemuProcess.attach(abandoned(started), { clock, mayWaitForPages: true });
    expect(await qemu.rescue.execute("query-yank", {}, { oob: true })).toMatchObject([{ id: "main" }]);
    expect(() => qemu.main.session.demandOpen("cont"), "nothing is said to be sent").toThrow(QmpUnsentError);
    await expect(qemu.main.execute("query-status", {}, { limitMs: 50 })).rejects.toThrow(QmpUnsentError);
    const answer = qemu.main.execute("query-status", {}, { limitMs: 20_000 });
    await goOn();
    expect(await answer).toMatchObject({ running: false });
    qemu.release();
  });

  test("is reported as dead when it dies before its first monitor was reached", async () => {
    started = await QemuProcess.start(spec(), { clock });
    const handle = abandoned(started);
    const unreached = { ...handle, monitors: { ...handle.monitors, main: `${handle.monitors.main}.none` } };
    const qemu = await QemuProcess.attach(unreached, { clock, mayWaitForPages: true });
    qemu.signal("SIGKILL");
    await qemu.exited;
    expect((await qemu.main.session.closed).message).toContain(`pid ${qemu.pid}`);
  });
});

test("does not send an engine the unread output of an earlier one on the second monitor", async () => {
  started = await QemuProcess.start(spec(), { clock });
  const { rescue } = started.handle.monitors;
  const handle = abandoned(started);
  const left = await open(`${rescue}.in`, "w");
  await left.write(`${JSON.stringify({ "exec-oob": "query-yank", id: "switchover-0" })}\n`.repeat(20));
  await left.close();
  const output = await open(`${rescue}.out`, "r");
  // The earlier engine died in the middle of a line.
  await output.read(Buffer.alloc(10));
  await output.close();
  const qemu = await QemuProcess.attach(handle, { clock });
  await expect(qemu.rescue.execute("migrate-pause", {}, { oob: true })).rejects.toThrow(QmpCommandError);
  expect(await qemu.rescue.execute("query-yank", {}, { oob: true })).toMatchObject([{ id: "main" }]);
  qemu.release();
});

test("keeps running while no engine reads its second monitor, and is found again", async () => {
  started = await QemuProcess.start(spec(), { clock });
  started.rescue.session.close();
  // Far more events than a pipe holds (64 KiB).
  for (let times = 0; times < 1_500; times += 1) {
    await started.main.execute("cont", {});
    await started.main.execute("stop", {});
  }
  const qemu = await QemuProcess.attach(abandoned(started), { clock });
  expect(await qemu.rescue.execute("query-yank", {}, { oob: true })).toMatchObject([{ id: "main" }]);
  expect(await qemu.main.execute("query-status", {})).toMatchObject({ running: false });
  qemu.release();
});

test("a process is identified by its start time from proc(5), whatever its name", () => {
  const own = identify(process.pid);
  const fields = readFileSync("/proc/self/stat", "utf8").split(") ").at(-1)?.split(" ");
  expect(own).toEqual({ pid: process.pid, startTicks: Number(fields?.[19]) });
  expect(identify(2 ** 22 - 1)).toBeUndefined();
});
