// Launches, migrates and checks the guest that proves its own continuity: firmware, serial files, checker.

import { randomInt, randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launchGuest, type RunningGuest } from "../library/local/running-guest.js";
import { type ContinuityReport, checkContinuity } from "./continuity.js";
import { diskHardware, diskSideArgs, type ProofDisk, readDiskArea } from "./disk.js";
import { checkDisk } from "./disk-proof.js";
import { buildFirmware, type ProofGuestOptions, proofGuestOptions } from "./firmware.js";

export interface ProofGuestLaunchOptions {
  /** Default: `proof`. */
  readonly name?: string;
  /** Must not be a multiple of 256: QEMU 7.2 under TCG loses dirty pages there. */
  readonly memoryKiB?: number;
  readonly workingSetMiB?: number;
  readonly dirtyMiBps?: number;
  /** Default: `qemu-system-x86_64`. */
  readonly binary?: string;
  /** Default: `tcg`. */
  readonly accelerator?: string;
  /** If set, the guest also writes to this disk on the first side and proves its writes. */
  readonly disk?: ProofDisk & {
    /** Default: 64, an area of 8 MiB. */
    readonly slots?: number;
    /** Default: a new one. */
    readonly seed?: number;
  };
  /** Default: `pc`; a versioned machine type can be migrated between different QEMU versions. */
  readonly machine?: string;
}

export interface ProofGuest {
  readonly guest: RunningGuest;
  readonly parameters: ProofGuestOptions;
  /**
   * Returns the arguments for the next side; its serial stream is checked after the previous ones. Pass a disk when the guest's
   * storage is mirrored; by default the side uses the disk of the previous side.
   */
  nextSide(name: string, disk?: ProofDisk): readonly string[];
  /** Checks the serial streams of all sides, in the order of their creation, and the disk of the side that wrote last. */
  check(): Promise<ContinuityReport>;
  /** Waits for `passes` further complete passes over the working set; rejects after the deadline. */
  waitForPasses(passes: number, deadlineMs: number): Promise<void>;
  /** Removes the files; end the guest first. */
  remove(): Promise<void>;
}

/**
 * Boots the proof guest and waits until it has written its whole working set: only memory that was written before a
 * move can be shown to have travelled.
 */
export async function launchProofGuest(wish: ProofGuestLaunchOptions = {}): Promise<ProofGuest> {
  const {
    memoryKiB = 65_544,
    workingSetMiB = 16,
    dirtyMiBps = 16,
    accelerator = "tcg",
    machine = "pc",
  } = wish;
  const { slots = 64, seed = randomInt(2 ** 32) } = wish.disk ?? {};
  const disk = wish.disk && { slots, seed };
  const parameters = proofGuestOptions({ memoryKiB, workingSetMiB, dirtyMiBps, ...(disk && { disk }) });
  const directory = await mkdtemp(join(tmpdir(), "switchover-proof-"));
  const firmware = join(directory, "firmware.bin");
  await writeFile(firmware, buildFirmware(parameters));
  const sides: { name: string; path: string; image: ProofDisk | undefined }[] = [];
  const nextSide = (name: string, image: ProofDisk | undefined = sides.at(-1)?.image) => {
    const path = join(directory, `${sides.length}-${name}.serial`);
    sides.push({ name, path, image });
    return ["-serial", `file:${path}`, ...(image ? diskSideArgs(image) : [])];
  };
  const listen = async () => {
    const streams = sides.map(async ({ name, path }) => ({
      name,
      bytes: await readFile(path).catch(() => new Uint8Array()),
    }));
    return checkContinuity(await Promise.all(streams), parameters);
  };
  let looks = 0;
  const check = async (): Promise<ContinuityReport> => {
    const before = await listen();
    const sizes = await Promise.all(sides.map(({ path }) => stat(path).catch(() => null)));
    const spokeLast = sizes.findLastIndex((size) => size !== null && size.size > 0);
    const image = sides[spokeLast]?.image;
    if (disk === undefined || image === undefined) return before;
    looks += 1;
    const area = await readDiskArea(image, disk, join(directory, `${looks}.area`));
    const report = await listen();
    const heardSince = report.acknowledged ?? 0;
    const onDisk = checkDisk(area, disk, before.acknowledged ?? 0, { heardSince });
    return { ...report, ok: report.ok && onDisk.ok, disk: onDisk };
  };
  const waitForCount = async (count: number, deadlineMs: number) => {
    const endMs = Date.now() + deadlineMs;
    for (;;) {
      const report = await listen();
      if (!report.ok && report.faults.some((fault) => fault.kind !== "silent")) return;
      if ((report.lastCount ?? 0) >= count) return;
      if (Date.now() > endMs)
        throw new Error(
          `the guest counted only to ${report.lastCount ?? 0} instead of ${count} in ${deadlineMs} ms`,
        );
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const waitForPasses = async (passes: number, deadlineMs: number) => {
    const ticksPerPass = Math.ceil(parameters.pages / parameters.pagesPerTick);
    await waitForCount(((await listen()).lastCount ?? 0) + passes * ticksPerPass, deadlineMs);
  };
  const remove = () => rm(directory, { recursive: true, force: true });
  let guest: RunningGuest | undefined;
  try {
    const hardware = ["-machine", `${machine},accel=${accelerator}`, "-nodefaults", "-display", "none"];
    guest = await launchGuest(
      {
        name: wish.name ?? "proof",
        uuid: randomUUID(),
        ...(wish.binary !== undefined && { binary: wish.binary }),
        args: [...hardware, ...(disk ? diskHardware : []), "-m", `${memoryKiB}K`, "-bios", firmware],
      },
      { sideArgs: nextSide("source", wish.disk) },
    );
    await waitForCount(1, 10_000);
    await waitForPasses(1, 120_000);
    return { guest, parameters, nextSide, check, waitForPasses, remove };
  } catch (error) {
    await guest?.end();
    await remove();
    throw error;
  }
}
