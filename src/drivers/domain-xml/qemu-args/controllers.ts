// Controllers; they precede the devices that are attached to them.

import {
  controllerId,
  type Family,
  familyOf,
  isBuiltIn,
  isUsbCompanion,
  usbModel,
} from "../schema/derived-properties.js";
import type { Controller } from "../schema/device.js";
import type { DomainModel } from "../schema/domain.js";
import { onPci } from "./addresses.js";
import type { CommandLine } from "./command-line.js";

const usbDrivers: Readonly<Record<string, string>> = {
  "piix3-uhci": "piix3-usb-uhci",
  "piix4-uhci": "piix4-usb-uhci",
  ehci: "usb-ehci",
  "nec-xhci": "nec-usb-xhci",
  "qemu-xhci": "qemu-xhci",
  "ich9-ehci1": "ich9-usb-ehci1",
  "ich9-uhci1": "ich9-usb-uhci1",
  "ich9-uhci2": "ich9-usb-uhci2",
  "ich9-uhci3": "ich9-usb-uhci3",
};
const pciDrivers: Readonly<Record<string, string>> = {
  "pcie-root-port": "pcie-root-port",
  "pcie-to-pci-bridge": "pcie-pci-bridge",
  "pci-bridge": "pci-bridge",
  "dmi-to-pci-bridge": "i82801b11-bridge",
};

export function addControllers(line: CommandLine, model: DomainModel): void {
  const family = familyOf(model);
  const { controllers } = model.devices;
  const seen = new Set<string>();
  for (const controller of controllers) {
    const name = `${controller.type} ${controller.index}`;
    if (seen.has(name) && !isUsbCompanion(controller)) {
      line.conflict(
        controller,
        "index",
        `another controller is ${name}`,
        "give each controller of a type its own index",
      );
    }
    if (!isUsbCompanion(controller)) seen.add(name);
  }
  // QEMU requires a bus to precede the devices on it.
  const bridgesFirst = controllers.toSorted((a, b) => rank(a) - rank(b));
  for (const controller of bridgesFirst) {
    if (isBuiltIn(controller, family)) checkRoot(line, controller, family);
    else addController(line, model, controller, family);
  }
}

const rank = (controller: Controller) =>
  controller.type === "pci" ? controller.index : isUsbCompanion(controller) ? 1001 : 1000;

function checkRoot(line: CommandLine, controller: Controller, family: Family): void {
  if (controller.type !== "pci") return;
  const root = family === "q35" ? "pcie-root" : "pci-root";
  if (controller.model !== root)
    line.conflict(
      controller,
      "model",
      `the machine has a ${root}`,
      `use model="${root}", or remove the controller`,
    );
  if (controller.index !== 0)
    line.conflict(controller, "index", "the root controller has the index 0", 'use index="0"');
}

type Properties = Readonly<Record<string, string | number | boolean | undefined>>;
type Of<T extends Controller["type"]> = Extract<Controller, { type: T }>;

function addController(line: CommandLine, model: DomainModel, controller: Controller, family: Family): void {
  const place = onPci(line, model, controller);
  const [driver, properties] = deviceOf(line, controller, family);
  const id = isUsbCompanion(controller) ? undefined : controllerId(controller, family);
  line.device(controller, driver, { id, ...place, ...properties });
}

function deviceOf(line: CommandLine, controller: Controller, family: Family): [driver: string, Properties] {
  switch (controller.type) {
    case "usb":
      return usbDevice(line, controller, family);
    case "scsi":
      return [controller.model === "virtio-scsi" ? "virtio-scsi-pci" : "lsi53c895a", {}];
    case "ide":
      line.unsupported(
        controller,
        undefined,
        "an IDE controller beside the machine's own is not supported",
        "use a sata bus",
      );
      return ["piix3-ide", {}];
    case "sata":
      return ["ich9-ahci", {}];
    case "virtio-serial":
      return ["virtio-serial-pci", { max_ports: controller.ports, vectors: controller.vectors }];
    case "pci":
      return bridgeDevice(line, controller, family);
  }
}

function usbDevice(line: CommandLine, controller: Of<"usb">, family: Family): [string, Properties] {
  const model = usbModel(controller, family);
  if (controller.ports !== undefined && !model.endsWith("xhci")) {
    line.unsupported(
      controller,
      "ports",
      "only an xhci controller has a configurable number of ports",
      "remove it",
    );
  }
  const bus = controller.index === 0 ? "usb" : `usb${controller.index}`;
  const properties = isUsbCompanion(controller)
    ? { masterbus: `${bus}.0`, firstport: controller.master?.startport ?? 0 }
    : { p2: controller.ports, p3: controller.ports };
  return [usbDrivers[model] ?? model, properties];
}

function bridgeDevice(line: CommandLine, controller: Of<"pci">, family: Family): [string, Properties] {
  const { model, index, target, device } = controller;
  const usual = pciDrivers[model] ?? model;
  const driver = device?.name ?? usual;
  if (device !== undefined && driver !== usual && !(model === "pcie-root-port" && driver === "ioh3420")) {
    line.conflict(device, "name", `it is not a ${model}`, `use ${usual}`);
  }
  if (index === 0)
    line.conflict(controller, "index", "index 0 is the machine's root controller", "use another index");
  if (family === "i440fx" && model !== "pci-bridge") {
    line.unsupported(
      controller,
      "model",
      "an i440fx machine does not support PCI Express controllers",
      "use a q35 machine, or a pci-bridge",
    );
  }
  const { slot = 0, function: unit = 0 } = controller.address ?? {};
  const { chassis = index, port = slot * 8 + unit, chassisNr = index, hotplug } = target ?? {};
  if (model === "pcie-root-port") return [driver, { chassis, port, hotplug }];
  return [driver, model === "pci-bridge" ? { chassis_nr: chassisNr } : {}];
}
