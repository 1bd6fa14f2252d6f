// The proof guest's disk at the sides it runs on: QEMU's arguments for it, and its bytes read back by `qemu-img`, from
// outside and also while the guest writes. What the bytes must be is `disk-proof.ts`.

import { execFile } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { promisify } from "node:util";
import { type DiskParameters, slotBytes } from "./disk-proof.js";

/** An image that exists, at least `diskAreaBytes` large; what it holds does not matter. */
export interface ProofDisk {
  readonly path: string;
  readonly format: "raw" | "qcow2";
}

/** The drive, for the guest's hardware: `query-block` shows it as `proof`. */
export const diskHardware: readonly string[] = [
  "-device",
  "ide-hd,id=proof,drive=proof-disk,bus=ide.0,unit=0",
];

/** The image behind the drive, for one side; the node `proof-disk` is what a storage migration copies. */
export function diskSideArgs({ path, format }: ProofDisk): readonly string[] {
  // Holes stay holes when the disk is copied.
  const file = { driver: "file", "node-name": "proof-file", filename: path, discard: "unmap" };
  const disk = { driver: format, "node-name": "proof-disk", file: "proof-file", discard: "unmap" };
  return [file, disk].flatMap((node) => ["-blockdev", JSON.stringify(node)]);
}

/** The area the guest writes to. `scratch` is a file that is made meanwhile. @throws Error when there is no such image. */
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
