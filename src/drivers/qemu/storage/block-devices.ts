// The disks of a QEMU as both sides of a migration name them, and the address of the NBD server between them.

import type { CopiedDisk } from "../../../protocol/messages.js";
import { partsOf, type StreamAddress } from "../../../protocol/peer-text.js";
import type { CommandArguments, Monitor } from "../monitor/commands.js";

export interface BlockDevice extends CopiedDisk {
  readonly node: string;
  readonly readOnly: boolean;
  /** What lies below its image, which the hosts may share. */
  readonly backing?: { readonly path: string; readonly format: string };
}

/** What has a medium; a device that QEMU was given without an id is named by its place in QEMU's tree. */
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

/** `/machine/peripheral/<id>/virtio-backend` is how QEMU 7.2 calls the virtio disk `<id>`. */
const nameOf = (qdev: string): string =>
  qdev.replace(/^\/machine\/peripheral\/([^/]+)(\/virtio-backend)?$/, "$1");

/** libvirt's name for the export of a disk: a libvirtd is a peer with which disks are copied too. */
export const exportName = (disk: string): string => `drive-${disk}`;

type NbdAddress = CommandArguments<"blockdev-add">["server"];

/** In the form of QEMU's NBD client. */
export function nbdAddress(address: StreamAddress): NbdAddress {
  const parts = partsOf(address);
  if (parts.type === "unix") return parts;
  return { type: "inet", host: parts.host, port: String(parts.port) };
}

/** Of the guest's; or why they cannot be copied. */
export async function disksToCopy(
  main: Monitor,
  storage: { readonly disks: "all" | readonly string[] } | null,
): Promise<readonly CopiedDisk[] | string> {
  if (storage === null) return [];
  const devices = await blockDevices(main);
  const wanted = storage.disks === "all" ? devices.filter((device) => !device.readOnly) : [];
  for (const name of storage.disks === "all" ? [] : storage.disks) {
    const device = devices.find((candidate) => candidate.name === name);
    const known = devices.map((item) => item.name).join(", ") || "none";
    if (device === undefined) return `the guest has no disk "${name}"; it has ${known}`;
    if (device.readOnly) return `disk "${name}" cannot be copied: it is read-only`;
    wanted.push(device);
  }
  return wanted.map(({ name, capacityBytes }) => ({ name, capacityBytes }));
}
