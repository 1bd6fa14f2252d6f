// Disks: two block nodes each, `<target>-storage` where the bytes are and `<target>-format` over it, and the device
// that the guest sees. Storage migration names the nodes: they are the same on both sides, what is in them may differ.

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
      line.conflict(target, "dev", `another disk is ${target.dev}`, "give each disk its own target");
    } else if (busOf(disk) === "virtio" && numbers.has(diskNumber(disk))) {
      // A virtio disk has its name from the letters alone, as libvirt's has.
      line.conflict(target, "dev", "another virtio disk has its letters", "give each disk its own letters");
    }
    targets.add(target.dev);
    if (busOf(disk) === "virtio") numbers.add(diskNumber(disk));
    if (address?.type === "drive") {
      const { controller, bus, target: id, unit } = address;
      const drive = `${busOf(disk)} ${controller} ${bus} ${id} ${unit}`;
      if (drives.has(drive)) {
        line.conflict(address, "unit", "another disk is there", "choose another, or leave out the address");
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
    // QEMU's word, and one that means nothing to a read.
    werror: policy === "enospace" ? "enospc" : policy,
    rerror: driver?.rerror_policy ?? (policy === "enospace" ? undefined : policy),
  });
}

function checkSerial(line: CommandLine, disk: Disk): void {
  if (disk.serial !== undefined && busOf(disk) === "virtio" && disk.serial.text.length > 20) {
    line.unsupported(disk, "serial", "virtio shows no more than 20 characters of it", "shorten it");
  }
}

type Placed = [driver: string, Readonly<Record<string, string | number | boolean | undefined>>];

/** The device, its name, and where it sits. */
function placed(line: CommandLine, model: DomainModel, disk: Disk): Placed {
  const { address, device } = disk;
  const kind = busOf(disk);
  if (kind === "virtio") {
    if (device === "cdrom") {
      line.unsupported(disk, "device", "a cdrom on virtio, which cannot eject", "use bus sata, scsi or ide");
    }
    return ["virtio-blk-pci", { id: diskId(model, disk), ...onPci(line, model, disk) }];
  }
  if (kind !== "scsi" && disk.readonly && device === "disk") {
    line.unsupported(
      disk,
      "readonly",
      `a ${kind} disk that cannot be written`,
      "use bus virtio or scsi, or a cdrom",
    );
  }
  const end = device === "cdrom" ? "cd" : "hd";
  if (address?.type !== "drive") {
    line.conflict(address ?? disk, undefined, `a ${kind} disk needs a drive's address`, 'use type="drive"');
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
  if (family === "q35") line.unsupported(address, undefined, "IDE on a q35 machine", "use a sata bus");
  if (controller !== 0 || unit > 1) {
    line.conflict(address, undefined, "the machine's IDE has room for four disks", "use a sata bus");
  }
  return { bus: `ide.${bus}`, unit };
}

function onSata(line: CommandLine, model: DomainModel, family: Family, address: Drive) {
  const { controller, unit } = address;
  const found = controllerAt(model, "sata", controller);
  const builtIn = family === "q35" && controller === 0;
  if (found === undefined && !builtIn)
    line.conflict(address, "controller", "there is no such controller", "add it");
  if (unit > 5)
    line.conflict(address, "unit", "a controller has room for six disks", "use another controller");
  return {
    bus: builtIn ? `ide.${unit}` : `${found === undefined ? "" : idOf(found, `sata${controller}`)}.${unit}`,
  };
}
