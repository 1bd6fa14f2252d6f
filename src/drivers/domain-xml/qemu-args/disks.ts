// Disks: two block nodes each, `<target>-storage` for the data and `<target>-format` on top of it, and the guest's device.
// Storage migration refers to the nodes by name, so that the names are the same on both sides; their options may differ.

import {
  busOf,
  controllerAt,
  diskId,
  diskNumber,
  disksInOrder,
  type Family,
  familyOf,
  idOf,
} from "../schema/derived-properties.js";
import type { Disk } from "../schema/disk.js";
import { isWriteThrough } from "../schema/disk.js";
import type { DomainModel } from "../schema/domain.js";
import { onPci } from "./addresses.js";
import { addSource, cacheMode } from "./block-nodes.js";
import { type CommandLine, onOff } from "./command-line.js";

export function addDisks(line: CommandLine, model: DomainModel, order: ReadonlyMap<object, number>): void {
  const targets = new Set<string>();
  const numbers = new Set<number>();
  const drives = new Set<string>();
  for (const disk of disksInOrder(model.devices.disks)) {
    const { target, address } = disk;
    if (targets.has(target.dev)) {
      line.conflict(
        target,
        "dev",
        `another disk has the target ${target.dev}`,
        "give each disk its own target",
      );
    } else if (busOf(disk) === "virtio" && numbers.has(diskNumber(disk))) {
      // As with libvirt, the name of a virtio disk's device depends on the letters of its target alone.
      line.conflict(
        target,
        "dev",
        "another virtio disk has the same letters",
        "give each disk its own letters",
      );
    }
    targets.add(target.dev);
    if (busOf(disk) === "virtio") numbers.add(diskNumber(disk));
    if (address?.type === "drive") {
      const { controller, bus, target: id, unit } = address;
      const drive = `${busOf(disk)} ${controller} ${bus} ${id} ${unit}`;
      if (drives.has(drive)) {
        line.conflict(
          address,
          "unit",
          "another disk has this address",
          "choose another unit, or omit the address",
        );
      }
      drives.add(drive);
    }
    addDisk(line, model, disk, order.get(disk));
  }
}

function addDisk(line: CommandLine, model: DomainModel, disk: Disk, bootindex: number | undefined): void {
  const node = addSource(line, disk);
  if (node === undefined && disk.device === "disk") line.missing(disk, "source", "only a cdrom can be empty");
  const { driver, serial, shareable, device } = disk;
  const cache = cacheMode(disk);
  const policy = driver?.error_policy;
  checkSerial(line, disk);
  const [name, place] = placed(line, model, disk);
  line.device(disk, name, {
    ...place,
    drive: node,
    bootindex,
    "write-cache": cache === undefined || device === "cdrom" ? undefined : onOff(!isWriteThrough(cache)),
    "share-rw": shareable ? true : undefined,
    serial: serial?.text,
    // QEMU's name for the policy; it does not apply to reads.
    werror: policy === "enospace" ? "enospc" : policy,
    rerror: driver?.rerror_policy ?? (policy === "enospace" ? undefined : policy),
  });
}

function checkSerial(line: CommandLine, disk: Disk): void {
  if (disk.serial !== undefined && busOf(disk) === "virtio" && disk.serial.text.length > 20) {
    line.unsupported(disk, "serial", "virtio exposes at most 20 characters of it", "shorten it");
  }
}

type Placed = [driver: string, Readonly<Record<string, string | number | boolean | undefined>>];

/** Returns the device's driver, id and address. */
function placed(line: CommandLine, model: DomainModel, disk: Disk): Placed {
  const { address, device } = disk;
  const kind = busOf(disk);
  if (kind === "virtio") {
    if (device === "cdrom") {
      line.unsupported(
        disk,
        "device",
        "a virtio disk cannot be a cdrom: it cannot eject media",
        "use bus sata, scsi or ide",
      );
    }
    return ["virtio-blk-pci", { id: diskId(model, disk), ...onPci(line, model, disk) }];
  }
  if (kind !== "scsi" && disk.readonly && device === "disk") {
    line.unsupported(
      disk,
      "readonly",
      `a ${kind} disk cannot be read-only`,
      "use bus virtio or scsi, or a cdrom",
    );
  }
  const end = device === "cdrom" ? "cd" : "hd";
  if (address?.type !== "drive") {
    line.conflict(address ?? disk, undefined, `a ${kind} disk requires a drive address`, 'use type="drive"');
    return [`ide-${end}`, {}];
  }
  if (kind === "scsi") return [`scsi-${end}`, onScsi(line, model, disk, address)];
  const id = diskId(model, disk);
  const family = familyOf(model);
  const place = kind === "ide" ? onIde(line, family, address) : onSata(line, model, family, address);
  return [`ide-${end}`, { id, ...place }];
}

type Drive = Extract<NonNullable<Disk["address"]>, { type: "drive" }>;

function onScsi(line: CommandLine, model: DomainModel, disk: Disk, address: Drive) {
  const { controller, bus: channel, target, unit } = address;
  const device = controllerAt(model, "scsi", controller);
  if (device?.type !== "scsi") {
    line.conflict(address, "controller", "there is no such controller", "add it");
    return {};
  }
  const wide = device.model === "virtio-scsi";
  const id = diskId(model, disk);
  return {
    id,
    bus: `${idOf(device, `scsi${controller}`)}.0`,
    ...(wide ? { channel, "scsi-id": target, lun: unit } : { "scsi-id": unit }),
    device_id: `drive-${id}`,
  };
}

function onIde(line: CommandLine, family: Family, address: Drive) {
  const { controller, bus, unit } = address;
  if (family === "q35")
    line.unsupported(address, undefined, "a q35 machine does not support IDE", "use a sata bus");
  if (controller !== 0 || unit > 1) {
    line.conflict(address, undefined, "the machine's IDE controller supports four disks", "use a sata bus");
  }
  return { bus: `ide.${bus}`, unit };
}

function onSata(line: CommandLine, model: DomainModel, family: Family, address: Drive) {
  const { controller, unit } = address;
  const found = controllerAt(model, "sata", controller);
  const builtIn = family === "q35" && controller === 0;
  if (found === undefined && !builtIn)
    line.conflict(address, "controller", "there is no such controller", "add it");
  if (unit > 5) line.conflict(address, "unit", "a controller supports six disks", "use another controller");
  return {
    bus: builtIn ? `ide.${unit}` : `${found === undefined ? "" : idOf(found, `sata${controller}`)}.${unit}`,
  };
}
