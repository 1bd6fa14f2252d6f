// The block nodes of a disk, with the settings that libvirt gives them.

import type { Disk } from "../schema/disk.js";
import type { CommandLine } from "./command-line.js";

/** Of QEMU's node names, which are 31 characters at most. */
export const formatNode = (target: string): string => `${target}-format`;
export const storageNode = (target: string): string => `${target}-storage`;

/** Adds the nodes; the name of the upper one, or undefined when the disk is empty. */
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
    // Given and empty, it ends the chain; else QEMU follows what the image says.
    ...(backingStore !== undefined && format === "qcow2" && { backing: null }),
  });
  return formatNode(target.dev);
}

/** A disk that is written from more than one guest must not be cached here. */
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
      if (first === undefined) line.missing(disk.source, "host", "name the server's <host>");
      if (second !== undefined) line.unsupported(second, undefined, "a second server", "name one");
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
      if (nbdHost[key] !== undefined) line.conflict(nbdHost, key, "a unix socket has none", "remove it");
    }
    return { type: "unix", path: socket };
  }
  if (name === undefined) line.missing(nbdHost, "name", "give the server's name or address");
  if (socket !== undefined) line.conflict(nbdHost, "socket", "tcp has none", 'use transport="unix"');
  return { type: "inet", host: name, port: `${port ?? 10_809}` };
}

function checkDriver(line: CommandLine, disk: Disk): void {
  const { driver, shareable } = disk;
  const { io, type, detect_zeroes, discard } = driver ?? {};
  const mode = cacheMode(disk);
  if (driver !== undefined && io === "native" && mode !== "none" && mode !== "directsync") {
    line.conflict(driver, "io", "native needs a disk that the host does not cache", 'use cache="none"');
  }
  if (driver !== undefined && io !== undefined && disk.type === "network") {
    line.unsupported(driver, "io", "it is for files and block devices", "remove it");
  }
  if (driver !== undefined && detect_zeroes === "unmap" && discard !== "unmap") {
    line.conflict(driver, "detect_zeroes", "unmap needs a disk that discards", 'add discard="unmap"');
  }
  if (shareable && driver !== undefined && type === "qcow2") {
    line.conflict(driver, "type", "several guests cannot write one qcow2 image", "use a raw image");
  }
}
