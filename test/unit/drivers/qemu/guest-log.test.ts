import { randomUUID } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../../../src/drivers/platform/clock.js";
import { GuestLog, logFileOf } from "../../../../src/drivers/qemu/process/guest-log.js";
import { QemuProcess } from "../../../../src/drivers/qemu/process/process.js";

function directory(): string {
  const made = mkdtempSync(join(tmpdir(), "log-"));
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

test("a log has its own file in its directory, whatever the guest's name", () => {
  const names = [
    "web-1",
    "..",
    ".",
    "a/b",
    "a%2Fb",
    "../../etc/passwd",
    "ü",
    "\n",
    "x".repeat(400),
    "x".repeat(401),
  ];
  const files = names.map(logFileOf);
  expect(new Set(files).size).toBe(names.length);
  expect(logFileOf("web-1")).toBe("web-1.log");
  for (const file of files) {
    expect(dirname(join("/log", file))).toBe("/log");
    expect(Buffer.byteLength(file)).toBeLessThan(220);
    expect(file).toMatch(/^[\w%+~-][\w%+.~-]*$/);
  }
});

test("a log is bounded, and a line cannot forge another or reach a terminal raw", async () => {
  const log = new GuestLog(directory(), "web-1");
  for (let count = 0; count < 40; count += 1) await log.write(0, `${"x".repeat(100_000)}\n\u001b[2J`);
  const sizes = readdirSync(dirname(log.path)).map((name) => statSync(join(dirname(log.path), name)).size);
  expect(sizes).toHaveLength(2);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(1024 * 1024);
  expect(readFileSync(log.path, "utf8").trimEnd().split("\n").at(-1)).toMatch(/^1970-.*x\\x0a\\x1b\[2J$/);
});

test("a QEMU's command line, last stderr output and end are logged, even when it failed to start", async () => {
  const logDirectory = directory();
  const spec = { name: "a guest", uuid: randomUUID(), args: ["-machine", "none", "-display", "none", "-S"] };
  const hosting = { logDirectory };
  const qemu = await QemuProcess.start(spec, { clock, hosting });
  qemu.signal("SIGKILL");
  await qemu.exited;
  const failed = QemuProcess.start({ ...spec, args: ["-machine", "nonsense"] }, { clock, hosting });
  await expect(failed).rejects.toThrow("unsupported machine type");
  const text = readFileSync(join(logDirectory, logFileOf(spec.name)), "utf8");
  expect(text).toMatch(
    new RegExp(`starting: qemu-system-x86_64 -name 'guest=a guest' -uuid ${spec.uuid} -sandbox `),
  );
  expect(text).toContain(`QEMU (pid ${qemu.pid}) was killed by SIGKILL`);
  expect(text).toMatch(/stderr: .*unsupported machine type/);
  expect(text).toMatch(/QEMU \(pid \d+\) ended with status 1\n$/);
});
