// Assigns an address to every device without one, in libvirt's order and by libvirt's rules, so that one definition gives
// the same hardware on both sides. On a q35 it uses the root bus, where libvirt would add a root port for each device.

import type { DiskAddress, PciAddress } from "./address.js";
import {
  busOf,
  controllerAt,
  diskNumber,
  disksInOrder,
  type Family,
  familyOf,
  inputBus,
  isBuiltIn,
  isUsbCompanion,
  usbModel,
} from "./derived-properties.js";
import type { Controller } from "./device.js";
import type { Disk } from "./disk.js";
import type { DomainModel } from "./domain.js";

export type PlacedAddress =
  | DiskAddress
  | { type: "usb"; bus: number; port: string }
  | { type: "virtio-serial"; controller: number; bus: number; port: number };

/** A device without an address, and the address assigned to it. */
export interface Placed {
  readonly device: object;
  readonly address: PlacedAddress;
}

interface OnPci {
  readonly address?: PciAddress | Exclude<PlacedAddress, PciAddress>;
}

/** Returns all PCI devices, in the order in which libvirt assigns their addresses. */
export function pciDevices(model: DomainModel): readonly OnPci[] {
  const { devices } = model;
  const family = familyOf(model);
  const balloon = devices.memballoon;
  return [
    ...devices.videos.filter((video) => video.model.type !== "none"),
    ...devices.interfaces,
    ...devices.controllers.filter((controller) => !isBuiltIn(controller, family)),
    ...disksInOrder(devices.disks).filter((disk) => busOf(disk) === "virtio"),
    ...(balloon === undefined || balloon.model === "none" ? [] : [balloon]),
    ...devices.rngs,
    ...devices.inputs.filter((input) => inputBus(input) === "virtio"),
  ];
}

/** Slots of the root bus that the machine reserves. */
export const machineSlots: Readonly<Record<Family, readonly number[]>> = { i440fx: [0, 1], q35: [0, 31] };
/** The USB controller that is a function of the i440fx's south bridge. */
export const southBridgeUsb = ({ os, devices }: DomainModel): Controller | undefined =>
  devices.controllers.find(
    (controller) =>
      controller.type === "usb" &&
      controller.index === 0 &&
      familyOf({ os }) === "i440fx" &&
      usbModel(controller, "i440fx").startsWith("piix"),
  );

const pci = (slot: number, more: Partial<PciAddress> = {}): PciAddress => ({
  type: "pci",
  domain: 0,
  bus: 0,
  slot,
  function: 0,
  ...more,
});

function placeOnPci(model: DomainModel): Placed[] {
  const family = familyOf(model);
  const all = pciDevices(model);
  const bridged = southBridgeUsb(model);
  const taken = new Set(machineSlots[family]);
  for (const { address } of all) if (address?.type === "pci" && address.bus === 0) taken.add(address.slot);
  return all
    .filter((device) => device.address === undefined)
    .flatMap((device) => {
      if (device === bridged) return [{ device, address: pci(1, { function: 2 }) }];
      const slot = Array.from({ length: 32 }, (_, index) => index).find((index) => !taken.has(index));
      if (slot === undefined) return [];
      taken.add(slot);
      return [{ device, address: pci(slot) }];
    });
}

/** Maximum number of disks on one controller, by bus. */
export const unitsOf = { scsi: 7, sata: 6 } as const;

function driveOf(disk: Disk): DiskAddress | undefined {
  const bus = busOf(disk);
  const number = diskNumber(disk);
  const drive = { type: "drive", bus: 0, target: 0 } as const;
  if (bus === "virtio") return undefined;
  if (bus === "ide")
    return {
      ...drive,
      controller: Math.floor(number / 4),
      bus: Math.floor((number % 4) / 2),
      unit: number % 2,
    };
  return { ...drive, controller: Math.floor(number / unitsOf[bus]), unit: number % unitsOf[bus] };
}

const placeDrives = ({ devices }: DomainModel): Placed[] =>
  devices.disks.flatMap((device) => {
    const address = device.address === undefined ? driveOf(device) : undefined;
    return address === undefined ? [] : [{ device, address }];
  });

function placePorts({ devices }: DomainModel): Placed[] {
  const consoles = devices.consoles.filter((console) => console.target?.type === "virtio");
  const all = [...consoles, ...devices.channels];
  const taken = new Set(all.flatMap(({ address }) => (address?.controller === 0 ? [address.port] : [])));
  return all
    .filter((device) => device.address === undefined)
    .map((device) => {
      // Port 0 is reserved for a console (virtio-serial's multiport rules).
      let port = consoles.some((console) => console === device) ? 0 : 1;
      while (taken.has(port)) port++;
      taken.add(port);
      return { device, address: { type: "virtio-serial", controller: 0, bus: 0, port } };
    });
}

/** Number of ports of QEMU's USB controller of that model. */
export function usbPorts(device: Extract<Controller, { type: "usb" }>, family: Family): number {
  const model = usbModel(device, family);
  if (model.endsWith("xhci")) return device.ports ?? 4;
  return model.includes("ehci") ? 6 : 2;
}

function placeOnUsb(model: DomainModel): Placed[] {
  const all = model.devices.inputs.filter((input) => inputBus(input) === "usb");
  const taken = new Set(
    all.flatMap(({ address }) => (address?.type === "usb" ? [`${address.bus} ${address.port}`] : [])),
  );
  const free = model.devices.controllers.flatMap((controller) =>
    controller.type === "usb" && !isUsbCompanion(controller) && controller.model !== "none"
      ? Array.from({ length: usbPorts(controller, familyOf(model)) }, (_, port) => ({
          bus: controller.index,
          port: `${port + 1}`,
        }))
      : [],
  );
  return all
    .filter((device) => device.address === undefined)
    .flatMap((device) => {
      const place = free.find((slot) => !taken.has(`${slot.bus} ${slot.port}`));
      if (place === undefined) return [];
      taken.add(`${place.bus} ${place.port}`);
      return [{ device, address: { type: "usb", ...place } as const }];
    });
}

/** A device that does not fit gets no address, and is refused when the domain is started. */
export const chooseAddresses = (model: DomainModel): Placed[] => [
  ...placeOnPci(model),
  ...placeDrives(model),
  ...placePorts(model),
  ...placeOnUsb(model),
];

/** Returns the controllers that libvirt would add: the default USB controller, and those that devices require. */
export function missingControllers(model: DomainModel): readonly Controller[] {
  const { devices } = model;
  const family = familyOf(model);
  const absent = (controller: Controller) =>
    controllerAt(model, controller.type, controller.index) === undefined;
  const upTo = (bus: "scsi" | "sata") => {
    const used = devices.disks.map((disk) =>
      busOf(disk) === bus ? (disk.address ?? driveOf(disk)) : undefined,
    );
    const highest = Math.max(
      -1,
      ...used.map((address) => (address?.type === "drive" ? address.controller : -1)),
    );
    return Array.from({ length: highest + 1 }, (_, index) => index);
  };
  const usb = { type: "usb", index: 0, model: usbModel({}, family) } as const;
  const ports = [
    ...devices.channels,
    ...devices.consoles.filter((console) => console.target?.type === "virtio"),
  ];
  return [
    ...(devices.controllers.some((controller) => controller.type === "usb") ? [] : [usb]),
    ...upTo("scsi").map((index) => ({ type: "scsi", index, model: "lsilogic" }) as const),
    ...upTo("sata").map((index) => ({ type: "sata", index }) as const),
    ...(ports.length > 0 ? [{ type: "virtio-serial", index: 0 } as const] : []),
  ].filter(absent);
}
