// Checks G4 on the disk of one guest: the checker accepts the disk of a genuine guest and finds each kind of loss; real disks,
// raw and qcow2, killed, moved and copied too early, are compared with the acknowledged writes.
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import {
  closeSync,
  cpSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { migrate } from "../../../src/library/local/migrate.js";
import { launchGuest, type RunningGuest } from "../../../src/library/local/running-guest.js";
import { checkContinuity, describeContinuity } from "../../../src/proof-guest/continuity.js";
import { type ProofDisk, readDiskArea } from "../../../src/proof-guest/disk.js";
import {
  checkDisk,
  type DiskParameters,
  describeDisk,
  diskAreaBytes,
  sectorOf,
  slotBytes,
} from "../../../src/proof-guest/disk-proof.js";
import { buildFirmware, proofGuestOptions } from "../../../src/proof-guest/firmware.js";
import { launchProofGuest, type ProofGuest } from "../../../src/proof-guest/launch.js";
import { simulateProofGuest } from "../../../src/proof-guest/model.js";
import { patienceMs } from "../../support/patience.js";

const disk: DiskParameters = { slots: 8, seed: 0xfeedbeef };

/** Puts a write where the guest puts it, unless another slot or seed is given. */
function put(area: Uint8Array, sequence: number, { slot = sequence % disk.slots, seed = disk.seed } = {}) {
  area.set(new Uint8Array(sectorOf({ ...disk, seed }, sequence).buffer), slot * slotBytes);
}

/** The area of a guest that has completed so many writes. */
function written(writes: number): Uint8Array {
  const area = new Uint8Array(diskAreaBytes(disk));
  for (let sequence = 1; sequence <= writes; sequence++) put(area, sequence);
  return area;
}

describe("a disk that holds all acknowledged writes", () => {
  it.each([0, 1, 7, 8, 9, 100])("is accepted after %i writes, and with later ones in flight", (writes) => {
    for (const more of [0, 1, 2]) {
      const report = checkDisk(written(writes + more), disk, writes);
      expect(report).toMatchObject({ ok: true, acknowledged: writes, newest: writes + more });
      expect(report.slotsVerified).toBeGreaterThanOrEqual(Math.min(writes, 8));
    }
  });

  it("is accepted whatever its earlier content", () => {
    const area = written(0).fill(0xa5);
    put(area, 1);
    put(area, 77, { seed: 1 });
    expect(checkDisk(area, disk, 1)).toMatchObject({ ok: true, newest: 1, slotsVerified: 1 });
  });

  it("is accepted when its end was never written and is missing", () => {
    expect(checkDisk(written(2).subarray(0, 3 * slotBytes), disk, 2).ok).toBe(true);
  });

  it("is accepted when the guest kept writing while it was read", () => {
    const area = written(20);
    put(area, 27); // read last, while 25 and 26 had been read before
    expect(checkDisk(area, disk, 20, { heardSince: 30 }).ok).toBe(true);
    expect(checkDisk(area, disk, 20).ok).toBe(false);
  });

  it("is described", () => {
    expect(describeDisk(checkDisk(written(20), disk, 20))).toBe(
      "disk contains the last 8 of 20 acknowledged writes",
    );
  });
});

describe("a loss is found and named", () => {
  it("a sector with older content", () => {
    const area = written(20);
    put(area, 11);
    const report = checkDisk(area, disk, 20);
    expect(report.faults).toEqual([{ kind: "lost", slot: 3, sequence: 19, foundSequence: 11 }]);
    expect(describeDisk(report)).toBe(
      "acknowledged write 19 is lost: write 11 was found in slot 3 of the disk",
    );
  });

  it("a disk that was copied too early, and one that was never copied", () => {
    expect(checkDisk(written(15), disk, 20).faults.map((fault) => fault.kind)).toEqual(Array(5).fill("lost"));
    const report = checkDisk(written(0), disk, 20);
    expect(report.faults).toHaveLength(8);
    expect(describeDisk(report)).toBe(
      "acknowledged write 16 is lost: nothing was found in slot 0 of the disk (and 7 more slots)",
    );
  });

  it("a gap before a write that was in flight", () => {
    const area = written(20);
    put(area, 22);
    expect(checkDisk(area, disk, 20).faults).toMatchObject([{ kind: "lost", sequence: 21 }]);
  });

  it("a torn sector, wherever it is torn", () => {
    for (let at = 8; at < 512; at += 4) {
      const area = written(20);
      area.set(written(12).subarray(4 * slotBytes + at, 4 * slotBytes + 512), 4 * slotBytes + at);
      expect(checkDisk(area, disk, 20).faults).toEqual([{ kind: "torn", slot: 4, sequence: 20 }]);
    }
  });

  it("any changed bit", () => {
    fc.assert(
      fc.property(fc.nat(7), fc.nat(511), fc.nat(7), (slot, byte, bit) => {
        const area = written(20);
        const at = slot * slotBytes + byte;
        area[at] = (area[at] ?? 0) ^ (1 << bit);
        expect(checkDisk(area, disk, 20).faults).toMatchObject([{ kind: "torn", slot }]);
      }),
    );
  });

  it("a write of another guest, or of another slot", () => {
    const area = written(20);
    put(area, 20, { seed: 7 });
    put(area, 17, { slot: 2 });
    const report = checkDisk(area, disk, 20);
    expect(report.faults).toMatchObject([
      { kind: "foreign", slot: 2, sequence: 18, foundSequence: 17 },
      { kind: "foreign", slot: 4, sequence: 20, foundSeed: 7 },
    ]);
    expect(describeDisk(report)).toContain("write 17 with seed 4276993775 was found instead of write 18");
  });

  it("a write that the guest cannot have issued yet", () => {
    const area = written(20);
    put(area, 28);
    const report = checkDisk(area, disk, 20);
    expect(report.faults).toMatchObject([{ kind: "ahead", slot: 4, newest: 22, foundSequence: 28 }]);
    expect(describeDisk(report)).toContain("two copies ran");
  });
});

describe("the guest's own report on its disk", () => {
  const parameters = { pages: 8, pagesPerTick: 3, disk };
  const lines = new TextDecoder().decode(simulateProofGuest(parameters, 30)).trimEnd().split("\n");
  const check = (text: readonly string[]) =>
    checkContinuity([{ name: "source", bytes: Buffer.from(`${text.join("\n")}\n`) }], parameters);

  it("is accepted, also within a line", () => {
    expect(check(lines)).toMatchObject({ ok: true, lastCount: 30, acknowledged: 30 });
    const cut = Buffer.from(lines.join("\n")).subarray(0, -20);
    const report = checkContinuity([{ name: "source", bytes: cut }], parameters);
    expect(report).toMatchObject({ ok: true, acknowledged: 29, perStream: [{ acknowledged: 29 }] });
  });

  it("is a disk fault when the guest has read other data than it wrote", () => {
    const report = check(lines.with(20, `${lines[20]?.slice(0, -1)}${lines[20]?.endsWith("0") ? 1 : 0}`));
    expect(report.faults[0]).toMatchObject({ kind: "disk", sequence: 12, line: 21 });
    expect(describeContinuity(report)).toContain("acknowledged write 12 is not what was read from the disk");
  });

  it("is a fault when acknowledgements are missing", () => {
    const late = lines[20]?.slice(0, 18) + (lines[25]?.slice(18) ?? "");
    const report = check(lines.slice(0, 20).concat(late));
    expect(report.faults).toMatchObject([{ kind: "acknowledgement", afterSequence: 19, foundSequence: 25 }]);
    expect(describeContinuity(report)).toBe("write 25 is acknowledged after 19 at line 21 of source");
    expect(check(lines.with(20, lines[20]?.slice(0, 17) ?? "")).faults[0]).toMatchObject({ kind: "garbled" });
  });
});

describe("on real QEMU", () => {
  const wish = { workingSetMiB: 1, dirtyMiBps: 1 };
  const slots = 16;
  let folder = "";
  const ending: (() => Promise<unknown>)[] = [];
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "disk-proof-"));
  });
  afterEach(async () => {
    for (const end of ending.splice(0).reverse()) await end();
    rmSync(folder, { recursive: true });
  });

  function image(format: ProofDisk["format"], name = `disk.${format}`): ProofDisk {
    const path = join(folder, name);
    const size = `${diskAreaBytes({ slots, seed: 0 })}`;
    execFileSync("qemu-img", ["create", "-q", "-f", format, path, size]);
    return { path, format };
  }

  async function launched(of: ProofDisk): Promise<{ proof: ProofGuest; parameters: DiskParameters }> {
    const proof = await launchProofGuest({ ...wish, disk: { ...of, slots } });
    ending.push(proof.remove, () => proof.guest.end());
    if (proof.parameters.disk === undefined) throw new Error("the guest has no disk");
    return { proof, parameters: proof.parameters.disk };
  }

  /** Waits for so many more acknowledged writes; returns the number of the last one. */
  async function acknowledged(proof: ProofGuest, more: number): Promise<number> {
    const from = (await proof.check()).acknowledged ?? 0;
    for (const deadline = performance.now() + patienceMs; ; await sleep(50)) {
      const { acknowledged: now = 0 } = await proof.check();
      if (now >= from + more) return now;
      if (performance.now() > deadline) throw new Error(`${now - from} writes in 20 s`);
    }
  }

  const area = (of: ProofDisk, parameters: DiskParameters) =>
    readDiskArea(of, parameters, join(folder, "area"));

  it.each(["raw", "qcow2"] as const)(
    "a killed guest's %s disk holds all acknowledged writes",
    async (format) => {
      const own = image(format);
      const { proof, parameters } = await launched(own);
      await acknowledged(proof, slots);
      const early = await area(own, parameters);
      await acknowledged(proof, slots / 2);
      expect(await proof.check()).toMatchObject({ ok: true, disk: { ok: true, slotsVerified: slots } });
      proof.guest.process.signal("SIGKILL");
      await proof.guest.process.exited;
      const report = await proof.check();
      expect(report.ok, describeContinuity(report)).toBe(true);

      const { acknowledged: last = 0 } = report;
      const late = await area(own, parameters);
      expect(checkDisk(late, parameters, last)).toMatchObject({ ok: true, slotsVerified: slots });
      const copiedEarly = checkDisk(early, parameters, last).faults;
      expect(copiedEarly.length).toBeGreaterThanOrEqual(slots / 2 - 2);
      expect(new Set(copiedEarly.map((diskFault) => diskFault.kind))).toEqual(new Set(["lost"]));
      const at = (last % slots) * slotBytes;
      late.set(early.subarray(at, at + 256), at);
      expect(checkDisk(late, parameters, last).faults).toMatchObject([{ kind: "torn", sequence: last }]);
    },
  );

  it("a guest that was ended by its monitor leaves all acknowledged writes", async () => {
    const { proof } = await launched(image("qcow2"));
    await acknowledged(proof, slots);
    await proof.guest.end();
    expect(await proof.check()).toMatchObject({ ok: true, disk: { ok: true, slotsVerified: slots } });
  });

  it("the guest itself detects a lost write, which one round later cannot be detected from outside", async () => {
    const own = image("raw");
    const { proof, parameters } = await launched(own);
    const last = await acknowledged(proof, slots);
    const slot = (last + slots / 2) % slots;
    const before = readFileSync(own.path).subarray(slot * slotBytes, slot * slotBytes + 512);
    before.set(Uint8Array.of(1), 300);
    const file = openSync(own.path, "r+");
    writeSync(file, before, 0, 512, slot * slotBytes);
    closeSync(file);
    await acknowledged(proof, slots);
    const report = await proof.check();
    expect(report.faults).toMatchObject([{ kind: "disk" }]);
    expect((report.faults[0]?.kind === "disk" ? report.faults[0].sequence : 0) % parameters.slots).toBe(slot);
    expect(report.disk?.ok, "it has been written again").toBe(true);
  });

  async function moved(proof: ProofGuest, to?: ProofDisk): Promise<RunningGuest | null> {
    const { outcome } = migrate({
      guest: proof.guest,
      destination: { sideArgs: proof.nextSide("destination", to) },
    });
    const { kind, guest } = await outcome;
    ending.push(async () => guest?.end());
    expect(kind).toBe("arrived");
    return guest;
  }

  it.each(["raw", "qcow2"] as const)("a move with a shared %s disk loses no write", async (format) => {
    const { proof } = await launched(image(format));
    await moved(proof);
    await acknowledged(proof, 2 * slots);
    const report = await proof.check();
    expect(report.ok, describeContinuity(report)).toBe(true);
    const [source, destination] = report.perStream.map((stream) => stream.acknowledged ?? 0);
    expect(destination).toBeGreaterThan((source ?? 0) + slots);
  });

  it("a move to a copy that was taken too early is detected, even when all slots have been written again", async () => {
    const own = image("raw");
    const { proof } = await launched(own);
    await acknowledged(proof, slots);
    const copy: ProofDisk = { path: join(folder, "copy.raw"), format: "raw" };
    cpSync(own.path, copy.path);
    await acknowledged(proof, slots);
    await moved(proof, copy);
    await acknowledged(proof, 2 * slots);
    const report = await proof.check();
    expect(report.disk?.ok).toBe(true);
    expect(report.ok).toBe(false);
    expect(new Set(report.faults.map((fault) => fault.kind))).toEqual(new Set(["disk"]));
  });

  it("a guest whose drive does not answer reports so and continues its count", async () => {
    const parameters = proofGuestOptions({ memoryKiB: 65_544, ...wish, disk: { slots, seed: 1 } });
    const firmware = join(folder, "firmware");
    const serial = join(folder, "serial");
    writeFileSync(firmware, buildFirmware(parameters));
    const machine = ["-machine", "pc,accel=tcg", "-nodefaults", "-display", "none", "-m", "65544K"];
    const spec = { name: "diskless", uuid: randomUUID(), args: [...machine, "-bios", firmware] };
    const guest = await launchGuest(spec, { sideArgs: ["-serial", `file:${serial}`] });
    ending.push(() => guest.end());
    await sleep(1000);
    const report = checkContinuity([{ name: "source", bytes: readFileSync(serial) }], parameters);
    expect(report.faults[0]).toMatchObject({ kind: "garbled", text: "disk error" });
    expect(report).toMatchObject({ acknowledged: 0 });
    expect(report.lines).toBeGreaterThan(10);
  });
});
