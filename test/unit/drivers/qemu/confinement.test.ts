// The permitted system calls and the user of a QEMU, as the kernel reports them for its process.

import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../../../src/drivers/platform/clock.js";
import { sandboxArgs } from "../../../../src/drivers/qemu/process/confinement.js";
import { QemuProcess } from "../../../../src/drivers/qemu/process/process.js";
import type { Hosting } from "../../../../src/drivers/qemu/process/spec.js";
import { letThrough } from "../../../support/let-through.js";
import { secondQemu } from "../../../support/second-qemu.js";

const denied = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
const args = ["-machine", "none", "-nodefaults", "-display", "none", "-S"];

async function started(hosting: Hosting, binary?: string): Promise<QemuProcess> {
  const spec = { name: "confined", uuid: randomUUID(), args, ...(binary !== undefined && { binary }) };
  const qemu = await QemuProcess.start(spec, { clock, hosting });
  onTestFinished(async () => {
    qemu.signal("SIGKILL");
    await qemu.exited;
  });
  return qemu;
}

const statusOf = ({ pid }: QemuProcess): Record<string, string> =>
  Object.fromEntries(
    readFileSync(`/proc/${pid}/status`, "utf8")
      .split("\n")
      .map((line) => [line.split(":")[0], line.slice(line.indexOf(":") + 1).trim()]),
  );

describe("a QEMU's sandbox", () => {
  test.each([
    ["7.2", "qemu-system-x86_64"],
    ...(secondQemu === null ? [] : [["of another age", secondQemu]]),
  ])("is a filter of the kernel's in QEMU %s", async (_, binary) => {
    expect(statusOf(await started({}, binary))).toMatchObject({ Seccomp: "2" });
  });

  test("is off where the configuration disables it", async () => {
    expect(statusOf(await started({ sandbox: false }))).toMatchObject({ Seccomp: "0" });
  });

  test("allows a QEMU to start a helper only for a network card that needs one", () => {
    const user = { uid: 1, gid: 1 };
    const card = (backend: string) => ["-netdev", backend];
    expect(sandboxArgs(card("user,id=n"))).toEqual(["-sandbox", denied]);
    expect(sandboxArgs(card("tap,id=n,script=no,downscript=no"))).toEqual(["-sandbox", denied]);
    expect(sandboxArgs(card("tap,id=n,script=/x"))[1]).toContain("spawn=allow");
    expect(sandboxArgs(card("bridge,id=n,br=br0"))[1]).toContain("elevateprivileges=deny,spawn=allow");
    expect(sandboxArgs(card("bridge,id=n,br=br0"), { user })[1]).toContain("elevateprivileges=allow");
    expect(sandboxArgs(["-sandbox", "off"]), "an embedder's own word wins").toEqual([]);
  });
});

test.skipIf(process.getuid?.() !== 0)(
  "a QEMU with its own user has no other rights, and its sockets are in a directory that others cannot enter",
  async () => {
    const parent = mkdtempSync(join(tmpdir(), "user-"));
    onTestFinished(() => rmSync(parent, { recursive: true, force: true }));
    const user = { uid: 65_534, gid: 65_534 };
    const directory = join(parent, "qemu");
    // Its user can traverse it, but sees no entries.
    letThrough(parent);
    const spec = { name: "confined", uuid: randomUUID(), args };
    const qemu = await QemuProcess.start(spec, { clock, hosting: { user }, directory });
    onTestFinished(() => qemu.signal("SIGKILL"));
    const ids = [user.uid, user.uid, user.uid, user.uid].join("\t");
    expect(statusOf(qemu)).toMatchObject({
      Uid: ids,
      Gid: ids,
      Groups: "",
      Seccomp: "2",
      CapEff: "0000000000000000",
    });
    expect(statSync(directory)).toMatchObject({ uid: user.uid, gid: user.gid });
    expect(statSync(directory).mode & 0o777).toBe(0o700);
  },
);
