// The disks of a QEMU as both sides of a migration name them, and the address of the NBD server between them.

import type { CopiedDisk } from "../../../protocol/messages.js";
import { partsOf, type StreamAddress } from "../../../protocol/peer-text.js";
import type { CommandArguments, Monitor } from "../monitor/commands.js";

export interface BlockDevice extends CopiedDisk {
  readonly node: string;
  readonly readOnly: boolean;
  /** The backing file of its image, which the hosts may share. */
  readonly backing?: { readonly path: string; readonly format: string };
}

/** Returns the devices with a medium; a device without an id is named by its path in QEMU's object tree. */
export async function blockDevices(monitor: Monitor): Promise<readonly BlockDevice[]> {
  const all = await monitor.execute("query-block", {});
  return all.flatMap(({ device, qdev, inserted }) => {
    const node = inserted?.["node-name"];
    if (inserted === undefined || node === undefined) return [];
    const { image } = inserted;
    const below = image["full-backing-filename"];
    const format = image["backing-filename-format"] ?? "raw";
    return [
      {
        name: nameOf(qdev ?? device),
        node,
        capacityBytes: image["virtual-size"],
        readOnly: inserted.ro,
        ...(below !== undefined && { backing: { path: below, format } }),
      },
    ];
  });
}

/** QEMU 7.2 reports the virtio disk `<id>` as `/machine/peripheral/<id>/virtio-backend`. */
const nameOf = (qdev: string): string =>
  qdev.replace(/^\/machine\/peripheral\/([^/]+)(\/virtio-backend)?$/, "$1");

/** libvirt's name for the export of a disk, since a libvirtd may be the other side of a disk mirror. */
export const exportName = (disk: string): string => `drive-${disk}`;

type NbdAddress = CommandArguments<"blockdev-add">["server"];

/** Returns the address in the form of QEMU's NBD client. */
export function nbdAddress(address: StreamAddress): NbdAddress {
  const parts = partsOf(address);
  if (parts.type === "unix") return parts;
  return { type: "inet", host: parts.host, port: String(parts.port) };
}

/** Returns the guest's disks to be mirrored, or why they cannot be. */
export async function disksToCopy(
  main: Monitor,
  storage: { readonly disks: "all" | readonly string[] } | null,
): Promise<readonly CopiedDisk[] | string> {
  if (storage === null) return [];
  const devices = await blockDevices(main);
  const wanted = storage.disks === "all" ? devices.filter((device) => !device.readOnly) : [];
  for (const name of storage.disks === "all" ? [] : storage.disks) {
    const device = devices.find((known) => known.name === name);
    const names = devices.map((known) => known.name).join(", ") || "none";
    if (device === undefined) return `the guest has no disk "${name}"; it has ${names}`;
    if (device.readOnly) return `disk "${name}" cannot be copied: it is read-only`;
    wanted.push(device);
  }
  return wanted.map(({ name, capacityBytes }) => ({ name, capacityBytes }));
}
