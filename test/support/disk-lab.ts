// The laboratory with a disk that travels: the guest's own image, room for its copy, and a look at what is left of the copying.

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
  /** Where the guest's disk is, and where it is to come. */
  readonly here: string;
  readonly there: string;
  /** What `migrate` is told. */
  moving(storage?: CopiedStorage): Partial<MigrateOptions>;
}

/** A guest with a disk of its own, and room for another. */
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

/** Nothing of the copying is left in the QEMU that runs the guest. */
export async function expectNoCopies(lab: Lab): Promise<void> {
  const main = lab.guest?.process.main;
  expect(await main?.execute("query-block-jobs", {})).toEqual([]);
  const nodes = (await main?.execute("query-named-block-nodes", { flat: true })) ?? [];
  expect(nodes.filter((instance) => instance["node-name"]?.startsWith("switchover"))).toEqual([]);
  expect((await objectsOf(lab.guest)).filter((object) => object.startsWith("switchover"))).toEqual([]);
}
