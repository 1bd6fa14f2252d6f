// Controllers, before the devices that sit on them.

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
  for (const it of controllers) {
    const name = `${it.type} ${it.index}`;
    if (seen.has(name) && !isUsbCompanion(it)) {
      line.conflict(it, "index", `there is another controller ${name}`, "give each of a type its own index");
    }
    if (!isUsbCompanion(it)) seen.add(name);
  }
  // A bus has to be there before what sits on it.
  const bridgesFirst = controllers.toSorted((a, b) => rank(a) - rank(b));
  for (const it of bridgesFirst) {
    if (isBuiltIn(it, family)) checkRoot(line, it, family);
    else addController(line, model, it, family);
  }
}

const rank = (it: Controller) => (it.type === "pci" ? it.index : isUsbCompanion(it) ? 1001 : 1000);

function checkRoot(line: CommandLine, it: Controller, family: Family): void {
  if (it.type !== "pci") return;
  const root = family === "q35" ? "pcie-root" : "pci-root";
  if (it.model !== root)
    line.conflict(it, "model", `the machine has a ${root}`, "name that, or leave it out");
  if (it.index !== 0) line.conflict(it, "index", "the root is controller 0", 'use index="0"');
}

type Properties = Readonly<Record<string, string | number | boolean | undefined>>;
type Of<T extends Controller["type"]> = Extract<Controller, { type: T }>;

function addController(line: CommandLine, model: DomainModel, it: Controller, family: Family): void {
  const place = onPci(line, model, it);
  const [driver, properties] = deviceOf(line, it, family);
  const id = isUsbCompanion(it) ? undefined : controllerId(it, family);
  line.device(it, driver, { id, ...place, ...properties });
}

function deviceOf(line: CommandLine, it: Controller, family: Family): [driver: string, Properties] {
  switch (it.type) {
    case "usb":
      return usbDevice(line, it, family);
    case "scsi":
      return [it.model === "virtio-scsi" ? "virtio-scsi-pci" : "lsi53c895a", {}];
    case "ide":
      line.unsupported(it, undefined, "an IDE controller beside the machine's own", "use a sata bus");
      return ["piix3-ide", {}];
    case "sata":
      return ["ich9-ahci", {}];
    case "virtio-serial":
      return ["virtio-serial-pci", { max_ports: it.ports, vectors: it.vectors }];
    case "pci":
      return bridgeDevice(line, it, family);
  }
}

function usbDevice(line: CommandLine, it: Of<"usb">, family: Family): [string, Properties] {
  const model = usbModel(it, family);
  if (it.ports !== undefined && !model.endsWith("xhci")) {
    line.unsupported(it, "ports", "only an xhci has as many ports as one likes", "remove it");
  }
  const bus = it.index === 0 ? "usb" : `usb${it.index}`;
  const properties = isUsbCompanion(it)
    ? { masterbus: `${bus}.0`, firstport: it.master?.startport ?? 0 }
    : { p2: it.ports, p3: it.ports };
  return [usbDrivers[model] ?? model, properties];
}

function bridgeDevice(line: CommandLine, it: Of<"pci">, family: Family): [string, Properties] {
  const { model, index, target, device } = it;
  const usual = pciDrivers[model] ?? model;
  const driver = device?.name ?? usual;
  if (device !== undefined && driver !== usual && !(model === "pcie-root-port" && driver === "ioh3420")) {
    line.conflict(device, "name", `it is no ${model}`, `use ${usual}`);
  }
  if (index === 0)
    line.conflict(it, "index", "controller 0 is the machine's root", "give it an index of its own");
  if (family === "i440fx" && model !== "pci-bridge") {
    line.unsupported(
      it,
      "model",
      "a PCI Express controller on an i440fx",
      "use a q35 machine, or a pci-bridge",
    );
  }
  const { slot = 0, function: unit = 0 } = it.address ?? {};
  const { chassis = index, port = slot * 8 + unit, chassisNr = index, hotplug } = target ?? {};
  if (model === "pcie-root-port") return [driver, { chassis, port, hotplug }];
  return [driver, model === "pci-bridge" ? { chassis_nr: chassisNr } : {}];
}
