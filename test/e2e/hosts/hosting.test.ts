// How a switchoverd hosts its QEMUs: their log, and their own user.

import { readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { letThrough } from "../../support/let-through.js";
import { until } from "../../support/until.js";
import { hasVirsh, type VirshHost, VirshLab } from "../../support/virsh-lab.js";

const logOf = ({ process }: VirshHost, name: string): string =>
  readFileSync(join(process.directory, "state", "log", `${name}.log`), "utf8");

describe.skipIf(!hasVirsh)("the log of a guest's QEMUs", () => {
  test("shows how a QEMU was started and how it died, and dominfo shows why the guest is shut off", async () => {
    const lab = await VirshLab.begin();
    const { a, guest } = lab;
    const { name } = guest;
    await lab.boot();
    const [pid = 0] = guest.pids();
    process.kill(pid, "SIGSEGV");
    const died = `QEMU (pid ${pid}) was killed by SIGSEGV`;
    await until(async () => (await a.virsh("domstate", "--reason", name)) === "shut off (crashed)");
    expect(await a.virsh("dominfo", name)).toContain(`crashed: ${died}`);
    expect(logOf(a, name)).toMatch(/starting: qemu-system-x86_64 .*-sandbox on,/);
    await until(() => /the guest has stopped: crashed\n$/.test(logOf(a, name)));
    expect(logOf(a, name)).toContain(died);
    await a.virsh("start", name);
    expect(await a.virsh("dominfo", name)).not.toContain(died);
  });

  test("also contains the end of a QEMU that died while no daemon ran", async () => {
    const lab = await VirshLab.begin();
    const { a, guest } = lab;
    await lab.boot();
    await a.process.kill();
    const [pid = 0] = guest.pids();
    process.kill(pid, "SIGKILL");
    await until(() => guest.pids().length === 0);
    await a.process.start();
    expect(logOf(a, guest.name)).toContain(`QEMU (pid ${pid}) has ended`);
    expect(await a.virsh("dominfo", guest.name)).toContain(`QEMU (pid ${pid}) has ended`);
  });
});

describe.skipIf(!hasVirsh || process.getuid?.() !== 0)("a separate user for QEMU", () => {
  test.each([
    ["shares", undefined, []],
    ["copies", "qcow2", ["--copy-storage-all"]],
  ] as const)(
    "runs the guest, which moves there and back when the move %s its disks",
    async (_, disk, copy) => {
      const own = { qemuUser: "nobody", qemuGroup: "nogroup" };
      const lab = await VirshLab.begin(disk === undefined ? {} : { disk }, undefined, { a: own, b: own });
      const { a, b, guest } = lab;
      for (const path of [a.process.directory, b.process.directory, dirname(guest.image("a"))])
        letThrough(path);
      await lab.boot();
      const userOf = (pid: number | undefined) =>
        /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
      expect(userOf(guest.pids()[0])).toBe("65534");
      await lab.migrate("--live", "--persistent", ...copy);
      await lab.countsAt("b");
      expect(userOf(guest.pids()[0])).toBe("65534");
      if (disk !== undefined) {
        expect(statSync(guest.image("b")).uid).toBe(65_534);
        await guest.checkDisk("b");
      }
      if (disk !== undefined) return;
      await b.virsh("migrate", "--live", guest.name, a.uri, "--xml", lab.xmlFile("again"));
      await until(() => guest.pids().length === 1);
      await guest.counts("again");
      guest.check();
    },
  );
});
