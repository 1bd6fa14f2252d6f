// The proof guest's disk on each side: QEMU's arguments for it, and its contents read by `qemu-img` from outside, also while the
// guest writes. `disk-proof.ts` defines the expected contents.

import { execFile } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { promisify } from "node:util";
import { type DiskParameters, slotBytes } from "./disk-proof.js";

/** An existing image of at least `diskAreaBytes`; its contents do not matter. */
export interface ProofDisk {
  readonly path: string;
  readonly format: "raw" | "qcow2";
}

/** The drive in the guest's hardware; `query-block` lists it as `proof`. */
export const diskHardware: readonly string[] = [
  "-device",
  "ide-hd,id=proof,drive=proof-disk,bus=ide.0,unit=0",
];

/** The image of the drive on one side; a storage migration mirrors the node `proof-disk`. */
export function diskSideArgs({ path, format }: ProofDisk): readonly string[] {
  // Keeps holes when the disk is mirrored.
  const file = { driver: "file", "node-name": "proof-file", filename: path, discard: "unmap" };
  const disk = { driver: format, "node-name": "proof-disk", file: "proof-file", discard: "unmap" };
  return [file, disk].flatMap((node) => ["-blockdev", JSON.stringify(node)]);
}

/** Returns the area that the guest writes to. `scratch` is a temporary file. @throws Error when the image does not exist. */
export async function readDiskArea(
  { path, format }: ProofDisk,
  { slots }: DiskParameters,
  scratch: string,
): Promise<Uint8Array> {
  const copied = [`bs=${slotBytes}`, `count=${slots}`, `if=${path}`, `of=${scratch}`];
  try {
    await promisify(execFile)("qemu-img", ["dd", "-U", "-f", format, "-O", "raw", ...copied]);
    return await readFile(scratch);
  } finally {
    await rm(scratch, { force: true });
  }
}
