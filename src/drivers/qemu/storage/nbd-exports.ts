// Exports the disks of a QEMU that waits for its guest over NBD, so that the source can mirror into them.

import type { CopiedDisk } from "../../../protocol/messages.js";
import { type SocketPath, type StreamAddress, tcpAddress, unixAddress } from "../../../protocol/peer-text.js";
import { atFirstFree, type ListenAt } from "../migration/listen-address.js";
import type { Monitor } from "../monitor/commands.js";
import { QmpCommandError } from "../monitor/errors.js";
import { blockDevices, exportName } from "./block-devices.js";

/**
 * `at`: the path of a unix socket, or ports; `tls`: the id of credentials that already exist in this QEMU. Returns
 * the address for the source, or the reason for a refusal.
 */
export async function offerDisks(
  monitor: Monitor,
  disks: readonly CopiedDisk[],
  at: SocketPath | ListenAt,
  tls: string | undefined,
): Promise<StreamAddress | { readonly refused: string }> {
  const devices = new Map(
    (await blockDevices(monitor)).map((blockDevice) => [blockDevice.name, blockDevice]),
  );
  const nodes = new Map<string, string>();
  for (const { name, capacityBytes } of disks) {
    const here = devices.get(name);
    if (here === undefined) return { refused: `the destination has no disk "${name}" to mirror into` };
    if (here.readOnly) return { refused: `the destination's disk "${name}" is read-only` };
    if (here.capacityBytes !== capacityBytes)
      return {
        refused: `the destination's disk "${name}" has ${here.capacityBytes} bytes, the guest's has ${capacityBytes}; use an image of the same size, or remove it so that one is created`,
      };
    nodes.set(name, here.node);
  }
  const uri = await startServer(monitor, at, tls);
  for (const [name, node] of nodes) {
    await monitor.execute("block-export-add", {
      type: "nbd",
      id: exportId(name),
      "node-name": node,
      name: exportName(name),
      writable: true,
    });
  }
  return uri;
}

/** A QEMU id begins with a letter and contains no slash. */
const exportId = (disk: string): string => `switchover-${disk.replaceAll(/[^\w.-]/g, "-")}`;

async function startServer(
  monitor: Monitor,
  at: SocketPath | ListenAt,
  tls: string | undefined,
): Promise<StreamAddress> {
  if (typeof at === "string") {
    const addr = { type: "unix", data: { path: at } } as const;
    await monitor.execute("nbd-server-start", { addr, "tls-creds": tls });
    return unixAddress(at);
  }
  const port = await atFirstFree(at, (value) =>
    monitor.execute("nbd-server-start", {
      addr: { type: "inet", data: { host: at.bind, port: String(value) } },
      "tls-creds": tls,
    }),
  );
  return tcpAddress(at.host, port);
}

/** Called before the guest runs here: from then on no other client writes to its disks. May be repeated. */
export async function stopOffering(monitor: Monitor): Promise<void> {
  try {
    await monitor.execute("nbd-server-stop", {});
  } catch (error) {
    // The server was already stopped.
    if (!(error instanceof QmpCommandError)) throw error;
  }
}
