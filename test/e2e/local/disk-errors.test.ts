// A disk that fails during a migration, on real QEMU: SeaBIOS reads the first sector, and blkdebug makes that read fail.

import { randomBytes, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { migrate } from "../../../src/library/local/migrate.js";
import { launchGuest } from "../../../src/library/local/running-guest.js";
import { qemusOf } from "../../support/qemus-of.js";

const mebibyte = 2 ** 20;

/** The guest waits for a while before it reads its disk, with memory that takes long to transfer. */
async function guestBeforeItsDisk() {
  const directory = mkdtempSync(join(tmpdir(), "disk-"));
  const [disk, rules, noise] = ["disk", "rules", "noise"].map((file) => join(directory, file));
  writeFileSync(disk ?? "", Buffer.alloc(mebibyte));
  writeFileSync(rules ?? "", '[inject-error]\nevent = "read_aio"\nerrno = "5"\n');
  writeFileSync(noise ?? "", randomBytes(24 * mebibyte));
  const uuid = randomUUID();
  const args = [
    ...["-machine", "pc", "-accel", "tcg", "-m", "64", "-display", "none", "-nodefaults", "-uuid", uuid],
    ...["-boot", "menu=on,splash-time=1500"],
    ...["-device", `loader,file=${noise},addr=0x1000000,force-raw=on`],
    ...["-drive", `if=none,id=disk,format=raw,file=blkdebug:${rules}:${disk},werror=stop,rerror=stop`],
    ...["-device", "ide-hd,drive=disk"],
  ];
  const guest = await launchGuest({ name: "disk", uuid, args });
  onTestFinished(async () => {
    for (const pid of qemusOf(uuid)) process.kill(pid, "SIGKILL");
    await guest.process.exited;
    rmSync(directory, { recursive: true, force: true });
  });
  return guest;
}

test.each([
  [true, "stayed", "a disk of the guest had an I/O error"],
  [false, "arrived", undefined],
] as const)(
  "with abortOnError %s a guest that a disk error stops has %s, and stays stopped there",
  async (abortOnError, kind, why) => {
    const guest = await guestBeforeItsDisk();
    const migration = migrate({ guest, abortOnError, limits: { bandwidthMiBps: 8 } });
    const outcome = await migration.outcome;
    expect(outcome.kind).toBe(kind);
    if (why !== undefined) expect(outcome.error?.message).toContain(why);
    const status = await outcome.guest?.process.main.execute("query-status", {});
    expect(status).toMatchObject({ running: false, status: "io-error" });
    expect(qemusOf(guest.spec.uuid)).toEqual([outcome.guest?.process.pid]);
    await outcome.guest?.end();
  },
);
