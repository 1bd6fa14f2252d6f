// The disks of a QEMU as both sides of a migration name them, and the address of the NBD server between them.

import type { CopiedDisk } from "../../protocol/messages.js";
import type { CommandArguments, Monitor } from "./monitor/commands.js";

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
        ...{
          name: nameOf(qdev ?? device),
          node,
          capacityBytes: image["virtual-size"],
          readOnly: inserted.ro,
        },
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

const tcp = /^tcp:\[?(.+?)\]?:(\d+)$/;

/** Of `tcp:host:port`; undefined when it is none. */
export const hostOf = (uri: string): string | undefined => tcp.exec(uri)?.[1];

type NbdAddress = CommandArguments<"blockdev-add">["server"];

/** @throws Error when it is neither `unix:/path` nor `tcp:host:port`. */
export function nbdAddress(uri: string): NbdAddress {
  const [, path] = /^unix:(.+)$/.exec(uri) ?? [];
  if (path !== undefined) return { type: "unix", path };
  const [, host, port] = tcp.exec(uri) ?? [];
  if (host !== undefined && port !== undefined) return { type: "inet", host, port };
  throw new Error(`"${uri}" is no address of an NBD server: it must be unix:/path or tcp:host:port`);
}
