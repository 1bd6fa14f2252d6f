// Starts real libvirtds for tests; each ends with its test.

import { onTestFinished } from "vitest";
import { type OpenConnection, type OpenOptions, openConnection } from "../../src/drivers/libvirt/rpc/open.js";
import { systemClock } from "../../src/drivers/platform/clock.js";
import { type Libvirtd, type LibvirtdOptions, launchLibvirtd } from "./launch-libvirtd.js";

export { hasLibvirtd } from "./launch-libvirtd.js";

export async function startLibvirtd(options: LibvirtdOptions = {}): Promise<Libvirtd> {
  const { stop, ...libvirtd } = await launchLibvirtd(options);
  onTestFinished(stop);
  return libvirtd;
}

const uuid = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";
/** A guest without disks, network or operating system. */
export const tiny = {
  uuid,
  xml: `<domain type='qemu'><name>tiny</name><uuid>${uuid}</uuid><memory unit='KiB'>32768</memory>
    <os><type arch='x86_64'>hvm</type></os><on_poweroff>destroy</on_poweroff></domain>`,
};

/** Ends with the test. */
export async function opened(uri: string, options: Partial<OpenOptions> = {}): Promise<OpenConnection> {
  const connection = await openConnection(uri, { clock: systemClock, ...options });
  onTestFinished(() => connection.close());
  return connection;
}
