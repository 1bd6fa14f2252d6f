// A lab for migrations that copy a disk: the guest's image, space for its copy, and a check for remains of the disk mirror.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import type { CopiedStorage, MigrateOptions } from "../../src/library/local/migrate.js";
import { inLab, type Lab, objectsOf } from "./proof-guests.js";

type Format = "raw" | "qcow2";
export const diskMiB = 48;
export const qemuImg = (...args: string[]) => execFileSync("qemu-img", args, { encoding: "utf8" });

interface Disks {
  readonly directory: string;
  /** Paths of the guest's image and of its copy at the destination. */
  readonly here: string;
  readonly there: string;
  /** The storage options for `migrate`. */
  moving(storage?: CopiedStorage): Partial<MigrateOptions>;
}

/** Starts a guest with its own disk, and provides space for its copy. */
export async function withDisk(
  format: Format,
  experiment: (lab: Lab, disks: Disks) => Promise<void>,
  make: (path: string) => void = (path) => qemuImg("create", "-q", "-f", format, path, `${diskMiB}M`),
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "disks-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const [here, there] = [join(directory, "here"), join(directory, "there")];
  make(here);
  await inLab({ workingSetMiB: 4, dirtyMiBps: 4, disk: { path: here, format } }, async (lab) => {
    const moving = (storage: CopiedStorage = {}) => ({
      destination: { sideArgs: lab.proof.nextSide("destination", { path: there, format }) },
      storage: { images: [{ disk: "proof", path: there, format }], ...storage },
    });
    await experiment(lab, { directory, here, there, moving });
  });
}

/** Checks that no job, export or node of the disk mirror is left in the QEMU that runs the guest. */
export async function expectNoCopies(lab: Lab): Promise<void> {
  const main = lab.guest?.process.main;
  expect(await main?.execute("query-block-jobs", {})).toEqual([]);
  const nodes = (await main?.execute("query-named-block-nodes", { flat: true })) ?? [];
  expect(nodes.filter((instance) => instance["node-name"]?.startsWith("switchover"))).toEqual([]);
  expect((await objectsOf(lab.guest)).filter((object) => object.startsWith("switchover"))).toEqual([]);
}
