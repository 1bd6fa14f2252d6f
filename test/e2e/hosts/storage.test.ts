// Disks that move with a guest between two hosts, each with its own image. Checks G1, G4 and G6.

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import type { MigrateFlag } from "../../../src/drivers/libvirt/client/flags.js";
import { freePort } from "../../support/free-port.js";
import { inTwoHosts, type TwoHosts } from "../../support/host-process.js";
import { until } from "../../support/until.js";
import { fieldsOf, hasVirsh, refusal, VirshLab } from "../../support/virsh-lab.js";

/** A guest that counts, and writes to its disk. */
async function booted(disk: "raw" | "qcow2" = "raw"): Promise<VirshLab> {
  const lab = await VirshLab.begin({ disk });
  await lab.boot();
  return lab;
}

/** Checks that no ownerless image that we created is left beside the guest's images. */
const leftOf = ({ guest }: { guest: { image(side: string): string } }): string[] =>
  readdirSync(dirname(guest.image("a"))).filter((text) => text.startsWith("."));

const contentsOf = (path: string, format: string): string =>
  execFileSync("qemu-io", ["-r", "-U", "-f", format, "-c", "read -P 7 8M 16M", path], { encoding: "utf8" });

describe.skipIf(!hasVirsh)("virsh migrate", () => {
  test.each(["raw", "qcow2"] as const)(
    "--copy-storage-all creates the missing %s image, and moves the disk with the guest",
    async (disk) => {
      const lab = await booted(disk);
      const { a, b, guest } = lab;
      await lab.migrate("--live", "--copy-storage-all", "--verbose");
      await lab.countsAt("b");
      await guest.checkDisk("b");
      expect(contentsOf(guest.image("b"), disk)).toContain("16 MiB");
      expect(await b.virsh("domstate", "--reason", guest.name)).toBe("running (migrated)");
      expect(fieldsOf(await a.virsh("domjobinfo", "--completed", guest.name))).toMatchObject({
        "Job type": "Completed",
        "File total": expect.stringMatching(/^\d+\.\d+ MiB$/),
        "File remaining": "0.000 B",
      });
      expect(leftOf(lab)).toEqual([]);
    },
  );

  test("--copy-storage-inc creates the image over the same backing file, and copies only the overlay", async () => {
    const lab = await VirshLab.begin({ disk: "qcow2" });
    const { guest } = lab;
    const [base, over] = [guest.image("base"), ["-F", "qcow2"]];
    guest.makeImage("base", "24M");
    execFileSync("qemu-io", ["-f", "qcow2", "-c", "write -P 7 8M 16M", base]);
    guest.makeImage("a", "24M", "-b", base, ...over);
    await lab.boot();
    await lab.migrate("--live", "--copy-storage-inc", "--copy-storage-synchronous-writes");
    await lab.countsAt("b");
    await guest.checkDisk("b");
    const told = execFileSync("qemu-img", ["info", "-U", "--output=json", guest.image("b")], {
      encoding: "utf8",
    });
    expect(JSON.parse(told)).toMatchObject({ "backing-filename": base, "backing-filename-format": "qcow2" });
    expect(contentsOf(guest.image("b"), "qcow2")).toContain("16 MiB");
    expect(statSync(guest.image("b")).blocks * 512).toBeLessThan(12 * 2 ** 20);
  });

  test("--p2p copies to the requested port into an existing image, and back to the first one", async () => {
    const lab = await booted();
    const { a, b, guest } = lab;
    guest.makeImage("b", "24M");
    const p2p = ["--live", "--p2p", "--copy-storage-all", "--migrate-disks", "hda"] as const;
    const port = `${await freePort()}`;
    await a.virsh("migrate", ...p2p, "--disks-port", port, guest.name, b.tcp, "--xml", lab.xmlFile("b"));
    await lab.countsAt("b");
    await guest.checkDisk("b");
    const uri = `tcp://127.0.0.1:${await freePort()}`;
    const xml = lab.xmlFile("c", (text) => text.replace(guest.image("c"), guest.image("a")));
    await b.virsh("migrate", ...p2p, "--disks-uri", uri, guest.name, a.tcp, "--xml", xml);
    await until(() => guest.pids().length === 1);
    await guest.counts("c");
    guest.check();
    await guest.checkDisk("a");
  });

  test("--disks-uri copies over a unix socket, which is removed afterwards", async () => {
    const lab = await booted();
    const path = join(lab.b.process.directory, "disks.sock");
    await lab.migrate("--live", "--copy-storage-all", "--disks-uri", `unix://${path}`);
    await lab.countsAt("b");
    await lab.guest.checkDisk("b");
    expect(existsSync(path)).toBe(false);
  });

  test("refuses contradictory options, and a disk that cannot be copied, by libvirt's rules", async () => {
    const lab = await booted();
    const { a, b, guest } = lab;
    const migrate = (...words: string[]) => refusal(lab.migrate("--live", ...words));
    expect(await migrate()).toContain("Unsafe migration");
    expect(await migrate("--copy-storage-all", "--migrate-disks", "hda,vdx")).toContain(
      "invalid argument: disk target vdx not found",
    );
    expect(await migrate("--unsafe", "--migrate-disks", "hda")).toContain(
      "Operation not supported: disks can be chosen only when storage is copied",
    );
    expect(await migrate("--copy-storage-all", "--disks-uri", "rdma://127.0.0.1:9")).toContain(
      "invalid argument: unsupported scheme in disks URI",
    );
    expect(
      await migrate("--copy-storage-all", "--disks-uri", "tcp://127.0.0.1:9", "--disks-port", "9"),
    ).toContain("not by both");
    const to = ["--xml", lab.xmlFile("b"), guest.name, b.tcp];
    const offline = ["--offline", "--persistent", "--copy-storage-all", guest.name, b.uri];
    expect(await refusal(a.virsh("migrate", ...offline))).toContain("not valid: an offline migration");
    const tunnelled = ["--live", "--p2p", "--tunnelled", "--copy-storage-all"];
    expect(await refusal(a.virsh("migrate", ...tunnelled, ...to))).toContain("Operation not supported");
    await lab.countsAt("a");
  });

  test("refuses an image of another size, and does not change it", async () => {
    const lab = await booted();
    const { b, guest } = lab;
    guest.makeImage("b", "32M");
    expect(await refusal(lab.migrate("--live", "--copy-storage-all"))).toContain(
      "the destination's disk \"ide0-0-0\" has 33554432 bytes, the guest's has 25165824",
    );
    expect(statSync(guest.image("b")).size).toBe(32 * 2 ** 20);
    expect(await b.virsh("list", "--all", "--name")).toBe("");
    await lab.countsAt("a");
    await guest.checkDisk("a");
  });

  test("leaves the guest able to move again after an abort of the disk mirror, and removes the image that it created", async () => {
    const lab = await booted();
    const { a, b, guest } = lab;
    const { name } = guest;
    const migration = refusal(lab.migrate("--live", "--copy-storage-all", "--bandwidth", "2"));
    await until(async () => {
      const job = fieldsOf(await a.virsh("domjobinfo", name));
      return Number.parseFloat(job["File processed"] ?? "0") > 0;
    });
    expect(existsSync(guest.image("b"))).toBe(true);
    await a.virsh("domjobabort", name);
    expect(await migration).toContain("operation aborted: job 'migration out' canceled by client");
    await lab.countsAt("a");
    await until(() => !existsSync(guest.image("b")));
    expect(await b.virsh("list", "--all", "--name")).toBe("");
    expect(leftOf(lab)).toEqual([]);
    await lab.migrate("--live", "--copy-storage-all");
    await lab.countsAt("b");
    await guest.checkDisk("b");
  });
});

const storage: readonly MigrateFlag[] = ["NON_SHARED_DISK"];
const copied = ({ fileProcessed }: { fileProcessed: bigint }) => fileProcessed > 0n;

const storyAt = (lab: TwoHosts, side: "a" | "b"): string => {
  const directory = join(lab.hosts[side].directory, "state", "journal");
  return join(directory, readdirSync(directory).find((file) => file.endsWith(".journal")) ?? "");
};

/** Checks where the guest runs, and that its disk is whole there; the image at b stays only with the guest. */
async function runsOn(lab: TwoHosts): Promise<"a" | "b"> {
  const at = await lab.countsOn();
  await lab.guest.checkDisk(at);
  if (at === "a") await until(() => !existsSync(lab.guest.image("b")));
  expect(leftOf(lab)).toEqual([]);
  return at;
}

describe("our own client", () => {
  test("moves the disk, switches to post-copy on request, and reports the disk's progress", async () => {
    // The guest dirties its memory faster than it is sent.
    await inTwoHosts({ guest: { disk: "raw", workingSetMiB: 24, dirtyMiBps: 24 } }, async (lab) => {
      const disks = ["--copy-storage-all", "--migrate-disks", "hda"];
      const over = ["--postcopy", "--postcopy-after-precopy", "--bandwidth", "10"];
      const client = lab.client([...disks, ...over, "--json"]);
      expect(await client.ended).toEqual([0, null]);
      const lines: unknown[] = client
        .said()
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      expect(lines).toContainEqual(
        expect.objectContaining({
          progress: expect.objectContaining({
            disks: { copiedBytes: expect.any(Number), totalBytes: expect.any(Number) },
          }),
        }),
      );
      expect(await runsOn(lab)).toBe("b");
      const story = readFileSync(storyAt(lab, "a"), "utf8");
      for (const state of ["mirroring", "handingOver", "left"]) expect(story).toContain(state);
    });
  });
});

describe("one copy runs at the end, with a whole disk, when", () => {
  test.each(["a", "b"] as const)(
    "the daemon at %s is killed with -9 while the disk is copied",
    async (side) => {
      await inTwoHosts({ guest: { disk: "raw" } }, async (lab) => {
        const { outcome } = await lab.managed({ bandwidthMiBps: 4 }, storage);
        await lab.jobAt("a", copied);
        await lab.restart(side);
        await outcome;
        await runsOn(lab);
      });
    },
  );

  test("the destination's daemon is killed with -9 at the switchover", async () => {
    await inTwoHosts({ guest: { disk: "qcow2" } }, async (lab) => {
      const ended = lab.peerToPeer("a", "b", "b", { bandwidthMiBps: 12 }, storage).catch(() => {});
      await lab.jobAt("a", ({ memProcessed }) => memProcessed > 0n);
      await lab.restart("b");
      await ended;
      await runsOn(lab);
    });
  });

  test("the destination's QEMU dies while the disk is copied", async () => {
    await inTwoHosts({ guest: { disk: "raw" } }, async (lab) => {
      const before = lab.guest.pids();
      const { outcome } = await lab.managed({ bandwidthMiBps: 4 }, storage);
      await lab.jobAt("a", copied);
      for (const pid of lab.guest.pids()) if (!before.includes(pid)) process.kill(pid, "SIGKILL");
      expect((await outcome).kind).toBe("stayed");
      expect(await runsOn(lab)).toBe("a");
    });
  });
});
