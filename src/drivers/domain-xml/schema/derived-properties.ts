// Properties that follow from a domain's model: the machine's family, a disk's bus and number, a controller's model, and
// libvirt's alias of each device. Facts: libvirt's qemu_alias.c and domain_conf.c.

import { isOfPerson } from "./address.js";
import type { Controller, Input } from "./device.js";
import type { Disk } from "./disk.js";
import type { DomainModel } from "./domain.js";

/** The chipset, which determines the machine's built-in devices and buses. */
export type Family = "i440fx" | "q35";
export const familyOf = ({ os }: Pick<DomainModel, "os">): Family =>
  os.type.machine.includes("q35") ? "q35" : "i440fx";

/** QEMU's name of the machine's PCI root bus. */
export const rootBus = (family: Family): string => (family === "q35" ? "pcie.0" : "pci.0");

const busOfPrefix = { vd: "virtio", sd: "scsi", hd: "ide" } as const;
export type Bus = "virtio" | "scsi" | "ide" | "sata";
export function busOf({ target: { dev, bus } }: Disk): Bus {
  if (bus !== undefined) return bus;
  return dev.startsWith("vd") ? busOfPrefix.vd : dev.startsWith("sd") ? busOfPrefix.sd : busOfPrefix.hd;
}

/** vda is 0, vdz is 25, vdaa is 26. */
export const diskNumber = ({ target }: Disk): number =>
  [...target.dev.slice(2)].reduce((sum, character) => sum * 26 + (character.codePointAt(0) ?? 0) - 96, 0) - 1;

/** Orders disks by the first appearance of their bus, then by letter: the order of numbering and booting. */
export function disksInOrder(disks: readonly Disk[]): readonly Disk[] {
  const buses = [...new Set(disks.map(busOf))];
  return disks.toSorted(
    (a, b) => buses.indexOf(busOf(a)) - buses.indexOf(busOf(b)) || diskNumber(a) - diskNumber(b),
  );
}

export const inputBus = ({ type, bus }: Input) => bus ?? (type === "tablet" ? "usb" : "ps2");

type Usb = Extract<Controller, { type: "usb" }>;
export const usbModel = ({ model }: Pick<Usb, "model">, family: Family) =>
  model ?? (family === "q35" ? "qemu-xhci" : "piix3-uhci");

/** Several functions of one USB controller share its index; only the EHCI function provides the bus. */
export const isUsbCompanion = (controller: Controller): boolean =>
  controller.type === "usb" && controller.model?.startsWith("ich9-uhci") === true;

/** True for a controller that the machine has built in: it requires no argument. */
export const isBuiltIn = (controller: Controller, family: Family): boolean =>
  (controller.type === "pci" && controller.model.endsWith("-root")) ||
  (controller.type === "ide" && controller.index === 0) ||
  (controller.type === "sata" && controller.index === 0 && family === "q35") ||
  (controller.type === "usb" && controller.model === "none");

/** Returns the user's alias of the device, or libvirt's. */
export const idOf = (device: { readonly alias?: { readonly name: string } }, otherwise: string): string =>
  device.alias !== undefined && isOfPerson(device.alias.name) ? device.alias.name : otherwise;

export function controllerId(controller: Controller, family: Family): string {
  if (controller.type === "pci")
    return controller.index === 0 ? rootBus(family) : idOf(controller, `pci.${controller.index}`);
  if (controller.type === "usb" && controller.index === 0) return idOf(controller, "usb");
  return idOf(controller, `${controller.type}${controller.index}`);
}

/** Returns the controller to which an address with that type and index refers. */
export const controllerAt = (
  { devices }: DomainModel,
  type: Controller["type"],
  index: number,
): Controller | undefined =>
  devices.controllers.find(
    (controller) => controller.type === type && controller.index === index && !isUsbCompanion(controller),
  );

/** Returns the QEMU device id of a disk, which is also the name of its NBD export. */
export function diskId(model: DomainModel, disk: Disk): string {
  const { address } = disk;
  const kind = busOf(disk);
  if (kind === "virtio") return idOf(disk, `virtio-disk${diskNumber(disk)}`);
  if (address?.type !== "drive") return idOf(disk, disk.target.dev);
  const { controller, bus, target, unit } = address;
  if (kind !== "scsi") return idOf(disk, `${kind}${controller}-${bus}-${unit}`);
  const device = controllerAt(model, "scsi", controller);
  const isWide = device?.type === "scsi" && device.model === "virtio-scsi";
  return idOf(disk, `scsi${[controller, bus, ...(isWide ? [target] : []), unit].join("-")}`);
}
