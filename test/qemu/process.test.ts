import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { systemClock as clock } from "../../src/drivers/platform/clock.js";
import { identify, isAlive } from "../../src/drivers/platform/procfs.js";
import { QemuGoneError, QemuProcess } from "../../src/drivers/qemu/process/process.js";

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

/** Another engine has died: its connections are closed, and its QEMU lives on. */
function abandoned(qemu: QemuProcess) {
  qemu.release();
  return qemu.handle;
}

describe("a QEMU that is found again", () => {
  test("answers as before, and its death is heard with its last words", async () => {
    started = await QemuProcess.start(spec(), { clock });
    const qemu = await QemuProcess.attach(abandoned(started), { clock });
    expect(qemu.rescue.session.hasOob).toBe(true);
    expect(await qemu.main.execute("query-status", {})).toMatchObject({ running: false });
    qemu.signal("SIGKILL");
    expect((await qemu.exited).message).toContain(`pid ${qemu.pid}`);
  });

  test("is not taken for another process that has its pid now", async () => {
    started = await QemuProcess.start(spec(), { clock });
    const handle = abandoned(started);
    const older = { ...handle, startTicks: handle.startTicks - 1, directory: null };
    await expect(QemuProcess.attach(older, { clock })).rejects.toBeInstanceOf(QemuGoneError);
    expect(isAlive(handle), "nothing has been done to it").toBe(true);
  });

  test("is gone when it has died meanwhile", async () => {
    started = await QemuProcess.start(spec(), { clock });
    const handle = abandoned(started);
    started.signal("SIGKILL");
    await started.exited;
    await expect(QemuProcess.attach(handle, { clock })).rejects.toBeInstanceOf(QemuGoneError);
  });
});

test("a process is known by its start as proc(5) tells it, whatever its name", () => {
  const own = identify(process.pid);
  const fields = readFileSync("/proc/self/stat", "utf8").split(") ").at(-1)?.split(" ");
  expect(own).toEqual({ pid: process.pid, startTicks: Number(fields?.[19]) });
  expect(identify(2 ** 22 - 1)).toBeUndefined();
});
