// Disks that move with the guest, on real QEMUs: the guest keeps writing numbered sectors, and each acknowledged write
// must be there at the end (G4).

import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { migrate } from "../../../src/library/local/migrate.js";
import { launchGuest } from "../../../src/library/local/running-guest.js";
import { diskMiB, expectNoCopies, qemuImg, withDisk } from "../../support/disk-lab.js";
import { destinationPid, progressedAgain, sourceReaches } from "../../support/proof-guests.js";

describe.each(["raw", "qcow2"] as const)("a %s disk", (format) => {
  test("is whole at the destination with every write that was acknowledged, and stays sparse", async () => {
    await withDisk(format, async (lab, { here, there, moving }) => {
      const outcome = await lab.ended(lab.migrate(moving()));
      expect(outcome.kind).toBe("arrived");
      const report = await lab.proof.check();
      expect(report.disk?.acknowledged ?? 0).toBeGreaterThan(10);
      expect(report.disk?.slotsVerified ?? 0).toBeGreaterThan(10);
      expect(statSync(there).blocks).toBeLessThan(statSync(here).blocks + 2 * 2048 + 4096);
    });
  });

  test("remains the guest's when an operator aborts its copy, and can be copied again at once", async () => {
    await withDisk(format, async (lab, { directory, moving }) => {
      const migration = lab.migrate({ ...moving(), limits: { diskBandwidthMiBps: 1 } });
      await sourceReaches(migration, "mirroring");
      await progressedAgain(migration);
      expect(migration.snapshot().progress?.disks?.totalBytes).toBeGreaterThan(0);
      expect(await migration.abort()).toMatchObject({ accepted: true });
      expect(await lab.ended(migration)).toMatchObject({ kind: "aborted" });
      await expectNoCopies(lab);
      expect(readdirSync(directory)).toEqual(["here"]);
      expect(await lab.ended(lab.migrate(moving()))).toMatchObject({ kind: "arrived" });
    });
  });
});

test("only the data above a shared backing file is copied", async () => {
  const base = (path: string) => join(path, "..", "base");
  const make = (path: string) => {
    qemuImg("create", "-q", "-f", "raw", base(path), `${diskMiB}M`);
    execFileSync("qemu-io", ["-f", "raw", "-c", `write -q -P 7 ${diskMiB - 8}M 8M`, base(path)]);
    qemuImg("create", "-q", "-f", "qcow2", "-b", base(path), "-F", "raw", path);
  };
  await withDisk(
    "qcow2",
    async (lab, { here, there, moving }) => {
      const backing = { path: base(here), format: "raw" };
      const images = [{ disk: "proof", path: there, format: "qcow2" as const, backing }];
      const outcome = await lab.ended(lab.migrate(moving({ incremental: true, images })));
      expect(outcome.kind).toBe("arrived");
      expect(statSync(there).size, "the backing file was not copied").toBeLessThan(8 * 2 ** 20 + 2 ** 22);
      const info: unknown = JSON.parse(qemuImg("info", "-U", "--output=json", there));
      expect(info).toMatchObject({ "backing-filename": base(here) });
    },
    make,
  );
});

test("each writable disk is copied by default, or those that are named", async () => {
  const directory = mkdtempSync(join(tmpdir(), "disks-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const names = ["one", "two", "three"];
  const image = (side: string, name: string) => join(directory, `${side}-${name}`);
  const side = (at: string) =>
    names.flatMap((name) => {
      const readOnly = name === "three";
      const file = { driver: "file", "node-name": name, filename: image(at, name), "read-only": readOnly };
      return ["-blockdev", JSON.stringify(file)];
    });
  for (const [index, name] of names.entries()) {
    qemuImg("create", "-q", "-f", "raw", image("here", name), "8M");
    execFileSync("qemu-io", ["-f", "raw", "-c", `write -q -P ${index + 1} 0 4M`, image("here", name)]);
  }
  // Not copied: the other side has its own image.
  qemuImg("create", "-q", "-f", "raw", image("there", "three"), "8M");
  const devices = names.flatMap((name) => ["-device", `virtio-blk-pci,id=${name},drive=${name}`]);
  const args = ["-machine", "pc,accel=tcg", "-nodefaults", "-display", "none", "-m", "64", ...devices];
  const guest = await launchGuest({ name: "disks", uuid: randomUUID(), args }, { sideArgs: side("here") });
  const images = ["one", "two"].map((disk) => ({
    disk,
    path: image("there", disk),
    format: "raw" as const,
  }));
  const outcome = await migrate({ guest, destination: { sideArgs: side("there") }, storage: { images } })
    .outcome;
  expect(outcome.kind, outcome.error?.message).toBe("arrived");
  await outcome.guest?.end();
  const equal = (name: string) =>
    readFileSync(image("here", name)).equals(readFileSync(image("there", name)));
  expect(names.map(equal)).toEqual([true, true, false]);
});

test("a disk also arrives with synchronous writes", async () => {
  await withDisk("raw", async (lab, { moving }) => {
    expect(await lab.ended(lab.migrate(moving({ synchronousWrites: true })))).toMatchObject({
      kind: "arrived",
    });
  });
});

describe("the destination's QEMU dies", () => {
  test.each(["mirroring", "precopying", "completingMirrors", "switchingOver"])(
    "when the source is %s: the guest keeps running with its own disk, and the created image is removed",
    async (state) => {
      await withDisk("raw", async (lab, { directory, moving }) => {
        const slow = state === "mirroring" ? { limits: { diskBandwidthMiBps: 1 } } : {};
        const migration = lab.migrate({ ...moving(), ...slow }, (record) => {
          if (record.kind !== "state" || record.side !== "source" || !record.state.startsWith(state)) return;
          process.kill(destinationPid(lab), "SIGKILL");
        });
        const outcome = await lab.ended(migration);
        expect(outcome.kind).toBe("stayed");
        // Whichever is reported first: the death, or the broken stream or disk mirror.
        expect(["died", "qemu", "disk"]).toContain(outcome.error?.failures[0]?.code);
        await expectNoCopies(lab);
        expect(readdirSync(directory)).toEqual(["here"]);
      });
    },
  );
});

test("a destination that hangs during a disk mirror is abandoned, and its connection is broken from outside", async () => {
  await withDisk("raw", async (lab, { directory, moving }) => {
    const migration = lab.migrate({ ...moving(), limits: { diskBandwidthMiBps: 8, stallMs: 1_000 } });
    await sourceReaches(migration, "mirroring");
    await progressedAgain(migration);
    const pid = destinationPid(lab);
    process.kill(pid, "SIGSTOP");
    const outcome = await lab.ended(migration);
    expect(outcome).toMatchObject({ kind: "stayed", error: { failures: [{ code: "stalled" }] } });
    await expectNoCopies(lab);
    expect(readdirSync(directory)).toEqual(["here"]);
  });
});

test("a full disk at the destination is reported as a disk's failure, and the guest stays", async () => {
  await withDisk("raw", async (lab, { there, moving }) => {
    const full = {
      driver: "blkdebug",
      "node-name": "proof-file",
      "inject-error": [{ event: "write_aio", errno: 28, sector: 40_000 }],
      image: { driver: "file", filename: there },
    };
    const { storage, destination } = moving();
    const sideArgs = (destination?.sideArgs ?? []).map((sideArg) =>
      sideArg.includes('"node-name":"proof-file"') ? JSON.stringify(full) : sideArg,
    );
    const outcome = await lab.ended(lab.migrate({ storage: storage ?? {}, destination: { sideArgs } }));
    expect(outcome.kind).toBe("stayed");
    expect(outcome.error?.failures[0]).toMatchObject({ code: "disk", step: "perform", side: "source" });
    expect(outcome.error?.failures[0]?.qemu?.join()).toMatch(/space/i);
    await expectNoCopies(lab);
  });
});

describe("before the migration begins it is refused for", () => {
  test("an image of another size", async () => {
    await withDisk("raw", async (lab, { there, moving }) => {
      qemuImg("create", "-q", "-f", "raw", there, "16M");
      const outcome = await lab.ended(lab.migrate(moving()));
      expect(outcome).toMatchObject({ kind: "stayed", error: { step: "prepare" } });
      expect(outcome.error?.message).toContain(`disk "proof" has ${16 * 2 ** 20} bytes, the guest's has`);
      expect(existsSync(there), "it was not ours").toBe(true);
    });
  });

  test("a disk that the guest does not have, and one whose image cannot be created", async () => {
    await withDisk("raw", async (lab, { directory, moving }) => {
      const unknown = await lab.ended(lab.migrate(moving({ disks: ["vdz"] })));
      expect(unknown.error?.message).toContain('the guest has no disk "vdz"; it has proof');
      const images = [{ disk: "proof", path: join(directory, "nowhere", "it"), format: "raw" as const }];
      const unmade = await lab.ended(lab.migrate(moving({ images })));
      expect(unmade.error?.message).toContain("cannot be created");
      expect(readdirSync(directory)).toEqual(["here"]);
    });
  });
});
