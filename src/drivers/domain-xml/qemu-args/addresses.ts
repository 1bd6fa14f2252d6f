// Translates addresses to QEMU arguments, and refuses addresses that are not possible.

import type { PciAddress } from "../schema/address.js";
import { machineSlots, pciDevices, southBridgeUsb } from "../schema/assign-addresses.js";
import { controllerAt, controllerId, familyOf, isBuiltIn, rootBus } from "../schema/derived-properties.js";
import type { DomainModel } from "../schema/domain.js";
import type { CommandLine } from "./command-line.js";

/** Returns the `-device` properties of a PCI address. */
export function onPci(
  line: CommandLine,
  model: DomainModel,
  device: { readonly address?: { type: string } },
) {
  const { address } = device;
  if (!isPci(address)) {
    if (address !== undefined) line.conflict(address, "type", "the device is a PCI device", 'use type="pci"');
    else
      line.conflict(
        device,
        undefined,
        "the bus has no free slot for the device",
        "give it an <address> on another bus",
      );
    return {};
  }
  const { bus, slot, function: unit, multifunction } = address;
  const controller = bus === 0 ? undefined : controllerAt(model, "pci", bus);
  if (bus !== 0 && controller === undefined) {
    line.conflict(
      address,
      "bus",
      `there is no PCI controller ${bus}`,
      `add <controller type="pci" index="${bus}">`,
    );
  }
  const family = familyOf(model);
  const hexOf = (value: number) => `0x${value.toString(16)}`;
  return {
    bus: controller === undefined ? rootBus(family) : controllerId(controller, family),
    addr: unit === 0 ? hexOf(slot) : `${hexOf(slot)}.${hexOf(unit)}`,
    multifunction: multifunction === true ? true : undefined,
  };
}

const isPci = (address: { readonly type: string } | undefined): address is PciAddress =>
  address?.type === "pci";

/** Refuses two devices at one address, and devices in slots that the machine reserves. */
export function checkPci(line: CommandLine, model: DomainModel): void {
  const family = familyOf(model);
  const builtIn = model.devices.controllers.filter(
    (controller) => controller.type !== "pci" && isBuiltIn(controller, family),
  );
  const taken = new Set<string>();
  for (const { address } of pciDevices(model)) {
    if (!isPci(address)) continue;
    const { bus, slot, function: unit } = address;
    const place = `${bus}:${slot}.${unit}`;
    const own = bus === 0 && machineSlots[family].includes(slot);
    if (own && !(address === southBridgeUsb(model)?.address && place === "0:1.2")) {
      line.conflict(
        address,
        "slot",
        `slot ${slot} is reserved by the machine`,
        "choose another slot, or omit the address",
      );
    } else if (taken.has(place)) {
      line.conflict(
        address,
        "slot",
        "another device has this address",
        "choose another slot, or omit the address",
      );
    }
    taken.add(place);
  }
  for (const controller of builtIn) {
    const expected = controller.type === "ide" ? "0:1.1" : "0:31.2";
    if (controller.address === undefined) continue;
    const { bus, slot, function: unit } = controller.address;
    if (`${bus}:${slot}.${unit}` !== expected) {
      line.conflict(
        controller.address,
        "slot",
        "the machine has this controller at another address",
        "omit the address",
      );
    }
  }
}
