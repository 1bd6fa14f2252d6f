// Stores the handle of a destination's QEMU in its directory, where a restarted engine finds it.

import { existsSync } from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod/mini";
import { findByArgument } from "../../platform/procfs.js";
import { monitorsIn } from "./launch.js";
import type { QemuHandle } from "./spec.js";

export const handle = z.object({
  pid: z.number(),
  startTicks: z.number(),
  monitors: z.object({ main: z.string(), rescue: z.string() }),
  directory: z.nullable(z.string()),
});
const handleFile = (directory: string) => join(directory, "qemu.json");

/** Written beside QEMU's sockets, so that it is removed with them. */
export async function keepHandle(directory: string, qemuHandle: QemuHandle): Promise<void> {
  const path = handleFile(directory);
  await writeFile(`${path}.new`, JSON.stringify(qemuHandle), { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/**
 * This process may have died between the start of QEMU and the write of this file: then QEMU's command line
 * identifies it.
 */
export async function handleIn(directory: string): Promise<QemuHandle | undefined> {
  try {
    return handle.parse(JSON.parse(await readFile(handleFile(directory), "utf8")));
  } catch {
    // An older version of this program used a socket for the second monitor.
    const older = join(directory, "rescue.sock");
    const monitors = { ...monitorsIn(directory), ...(existsSync(older) && { rescue: older }) };
    const [identity] = findByArgument(monitors.main);
    return identity && { ...identity, monitors, directory };
  }
}
