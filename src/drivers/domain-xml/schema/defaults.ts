// Completes a domain as libvirt does when it is defined: uuid, MAC addresses, devices that other devices require or that
// every domain has, and addresses. A complete domain is left unchanged.

import { createHash } from "node:crypto";
import type { Element } from "@xmldom/xmldom";
import { elementOf } from "../xml/read.js";
import type { ElementType } from "../xml/table.js";
import { append, insertAfter, writeElement } from "../xml/write.js";
import { diskAddress, inputAddress, portAddress } from "./address.js";
import { chooseAddresses, missingControllers } from "./assign-addresses.js";
import { serial } from "./character.js";
import { controller, memballoon, video } from "./device.js";
import { type DomainModel, uuidElement } from "./domain.js";
import { cardMac, cardModel } from "./network.js";

/** Inserts the uuid after the domain's name. */
export function completeUuid(name: DomainModel["name"], uuid: string): void {
  const before = elementOf(name);
  if (before?.ownerDocument == null) return;
  insertAfter(before, writeElement(uuidElement, { text: uuid }, "uuid", before.ownerDocument));
}

/** Adds missing devices, and missing parts of devices except their addresses. */
export function completeDevices(model: DomainModel, uuid: string): void {
  const { devices } = model;
  for (const [index, card] of devices.interfaces.entries()) {
    if (card.mac === undefined) add(card, "mac", cardMac, { address: macOf(uuid, index) });
    if (card.model === undefined) add(card, "model", cardModel, { type: "rtl8139" });
  }
  const [first] = devices.consoles;
  if (devices.serials.length === 0 && first !== undefined && first.target?.type !== "virtio") {
    const { alias, address, tty, target, ...backend } = first;
    add(devices, "serial", serial, backend);
  }
  for (const missingController of missingControllers(model))
    add(devices, "controller", controller, missingController);
  if (devices.graphics.length > 0 && devices.videos.length === 0) {
    add(devices, "video", video, { model: { type: "cirrus" } });
  }
  if (devices.memballoon === undefined) add(devices, "memballoon", memballoon, { model: "virtio" });
}

export function completeAddresses(model: DomainModel): void {
  for (const { device, address } of chooseAddresses(model)) {
    if (address.type === "usb") add(device, "address", inputAddress, address);
    else if (address.type === "virtio-serial") add(device, "address", portAddress, address);
    else add(device, "address", diskAddress, address);
  }
}

/** Adds to the element that the model was read from; the model itself is unchanged until the element is read again. */
function add<T>(parent: object, name: string, type: ElementType<T>, value: T): void {
  const element: Element | undefined = elementOf(parent);
  if (element?.ownerDocument == null) return;
  append(element, writeElement(type, value, name, element.ownerDocument));
}

/** QEMU's prefix and a hash per interface; deterministic, so that a repeated definition gives the same address. */
function macOf(uuid: string, index: number): string {
  const digest = createHash("sha256").update(`${uuid} ${index}`).digest("hex");
  return ["52:54:00", digest.slice(0, 2), digest.slice(2, 4), digest.slice(4, 6)].join(":");
}
