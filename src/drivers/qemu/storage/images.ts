// The destination's images of disks that are copied: made where they are missing, and removed again when the guest does
// not come. What we have made is told apart by a second name that it keeps until the guest is taken. Upholds G6.

import { execFile } from "node:child_process";
import { linkSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import type { CopiedDisk } from "../../../protocol/messages.js";

export interface Image {
  /** The disk's name, as `CopiedDisk` has it. */
  readonly disk: string;
  readonly path: string;
  readonly format: "raw" | "qcow2";
  /** For a copy of what lies above a shared backing file. */
  readonly backing?: { readonly path: string; readonly format: string };
}

/** Beside the image, since a second name must be in the same file system. */
const mark = (path: string, tag: string): string => join(dirname(path), `.${basename(path)}.${tag}`);

/**
 * Makes the images that are missing, sparse. `tag` names the migration.
 * @throws Error with qemu-img's words; what was made before is left to `dropImages`.
 */
export async function makeImages(
  images: readonly Image[],
  disks: readonly CopiedDisk[],
  tag: string,
): Promise<void> {
  for (const { disk, path, format, backing } of images) {
    const copied = disks.find((copiedDisk) => copiedDisk.name === disk);
    if (copied === undefined || exists(path)) continue;
    const made = mark(path, tag);
    const above = backing === undefined ? [] : ["-b", backing.path, "-F", backing.format];
    try {
      await promisify(execFile)("qemu-img", [
        ...["create", "-q", "-f", format],
        ...above,
        ...[made, String(copied.capacityBytes)],
      ]);
    } catch (error) {
      const words = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : String(error);
      throw new Error(`the image ${path} of disk "${disk}" cannot be made: ${words}`);
    }
    try {
      linkSync(made, path);
    } catch (error) {
      rmSync(made, { force: true });
      // Somebody else has made it meanwhile: then it is his.
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    }
  }
}

/** Removes what we have made for this migration and not kept. */
export function dropImages(images: readonly Image[], tag: string): void {
  for (const { path } of images) {
    const made = identityOf(mark(path, tag));
    if (made === undefined) continue;
    if (identityOf(path) === made) rmSync(path);
    rmSync(mark(path, tag));
  }
}

/** From now on they are the guest's. */
export function keepImages(images: readonly Image[], tag: string): void {
  for (const { path } of images) rmSync(mark(path, tag), { force: true });
}

const exists = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined;

function identityOf(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false, bigint: true });
  return stat === undefined ? undefined : `${stat.dev}:${stat.ino}`;
}
