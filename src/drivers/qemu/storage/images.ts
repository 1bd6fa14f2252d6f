// The destination's images of mirrored disks: created where they are missing, and removed again when the guest does
// not arrive. Images that this migration created are marked by a second name, which they keep until the guest is
// taken. Upholds G6.

import { execFile } from "node:child_process";
import { linkSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import type { CopiedDisk } from "../../../protocol/messages.js";

export interface Image {
  /** The disk's name, as in `CopiedDisk`. */
  readonly disk: string;
  readonly path: string;
  readonly format: "raw" | "qcow2";
  /** For a mirror of only the layers above a shared backing file. */
  readonly backing?: { readonly path: string; readonly format: string };
}

/** In the image's directory, since a second name must be in the same file system. */
const mark = (path: string, tag: string): string => join(dirname(path), `.${basename(path)}.${tag}`);

/**
 * Creates the missing images, sparse. `tag` identifies the migration. @throws Error with qemu-img's message; images
 * created before it are left to `dropImages`.
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
      throw new Error(`the image ${path} of disk "${disk}" cannot be created: ${words}`);
    }
    try {
      linkSync(made, path);
    } catch (error) {
      rmSync(made, { force: true });
      // Another process has created it meanwhile: then it is not ours.
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    }
  }
}

/** Removes the images that this migration created and did not keep. */
export function dropImages(images: readonly Image[], tag: string): void {
  for (const { path } of images) {
    const made = identityOf(mark(path, tag));
    if (made === undefined) continue;
    if (identityOf(path) === made) rmSync(path);
    rmSync(mark(path, tag));
  }
}

/** From now on the images belong to the guest. */
export function keepImages(images: readonly Image[], tag: string): void {
  for (const { path } of images) rmSync(mark(path, tag), { force: true });
}

const exists = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined;

function identityOf(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false, bigint: true });
  return stat === undefined ? undefined : `${stat.dev}:${stat.ino}`;
}
