// The block nodes of a disk, with the options that libvirt sets.

import type { Disk } from "../schema/disk.js";
import type { CommandLine } from "./command-line.js";

/** Node name of the format layer. QEMU's node names have at most 31 characters. */
export const formatNode = (target: string): string => `${target}-format`;
export const storageNode = (target: string): string => `${target}-storage`;

/** Adds the nodes; returns the name of the topmost one, or undefined when the disk is empty. */
export function addSource(line: CommandLine, disk: Disk): string | undefined {
  const { driver, target, device, readonly, backingStore } = disk;
  const protocol = protocolOf(line, disk);
  if (protocol === undefined) return undefined;
  checkDriver(line, disk);
  const format = driver?.type ?? "raw";
  const cache = cacheOf(disk);
  const discard = driver?.discard;
  line.blockNode({
    ...protocol,
    aio: disk.type === "network" ? undefined : driver?.io,
    "node-name": storageNode(target.dev),
    cache,
    "auto-read-only": true,
    discard: "unmap",
  });
  line.blockNode({
    "node-name": formatNode(target.dev),
    "read-only": readonly || device === "cdrom",
    discard,
    "detect-zeroes": driver?.detect_zeroes,
    cache,
    driver: format,
    file: storageNode(target.dev),
    // An empty <backingStore> ends the chain; without one, QEMU follows the backing file that the image names.
    ...(backingStore !== undefined && format === "qcow2" && { backing: null }),
  });
  return formatNode(target.dev);
}

/** A disk that several guests write must not be cached by this host. */
export const cacheMode = ({ driver, shareable }: Disk) => driver?.cache ?? (shareable ? "none" : undefined);

function cacheOf(disk: Disk) {
  const mode = cacheMode(disk);
  if (mode === undefined) return undefined;
  return { direct: mode === "none" || mode === "directsync", "no-flush": mode === "unsafe" };
}

function protocolOf(line: CommandLine, disk: Disk) {
  if (disk.source === undefined) return undefined;
  const { target } = disk;
  switch (disk.type) {
    case "file":
      line.needs({ path: disk.source.file, kind: "disk", target: target.dev, in: disk.source, key: "file" });
      return { driver: "file", filename: disk.source.file };
    case "block":
      line.needs({ path: disk.source.dev, kind: "disk", target: target.dev, in: disk.source, key: "dev" });
      return { driver: "host_device", filename: disk.source.dev };
    case "network": {
      const { hosts, name } = disk.source;
      const [first, second] = hosts;
      if (first === undefined) line.missing(disk.source, "host", "add the server's <host>");
      if (second !== undefined)
        line.unsupported(second, undefined, "a second server is not supported", "keep one <host>");
      return { driver: "nbd", server: first && serverOf(line, first), export: name };
    }
  }
}

type NbdHost = Extract<Disk, { type: "network" }>["source"]["hosts"][number];

function serverOf(line: CommandLine, nbdHost: NbdHost) {
  const { transport, name, port, socket } = nbdHost;
  if (transport === "unix") {
    if (socket === undefined) line.missing(nbdHost, "socket", "give the path of the server's socket");
    for (const key of ["name", "port"] as const) {
      if (nbdHost[key] !== undefined)
        line.conflict(nbdHost, key, "a unix socket does not use it", "remove it");
    }
    return { type: "unix", path: socket };
  }
  if (name === undefined) line.missing(nbdHost, "name", "give the server's name or address");
  if (socket !== undefined) line.conflict(nbdHost, "socket", "tcp does not use it", 'use transport="unix"');
  return { type: "inet", host: name, port: `${port ?? 10_809}` };
}

function checkDriver(line: CommandLine, disk: Disk): void {
  const { driver, shareable } = disk;
  const { io, type, detect_zeroes, discard } = driver ?? {};
  const mode = cacheMode(disk);
  if (driver !== undefined && io === "native" && mode !== "none" && mode !== "directsync") {
    line.conflict(driver, "io", "native requires a disk that the host does not cache", 'use cache="none"');
  }
  if (driver !== undefined && io !== undefined && disk.type === "network") {
    line.unsupported(driver, "io", "io applies to files and block devices only", "remove it");
  }
  if (driver !== undefined && detect_zeroes === "unmap" && discard !== "unmap") {
    line.conflict(driver, "detect_zeroes", "unmap requires a disk with discard", 'add discard="unmap"');
  }
  if (shareable && driver !== undefined && type === "qcow2") {
    line.conflict(driver, "type", "several guests cannot write to one qcow2 image", "use a raw image");
  }
}
