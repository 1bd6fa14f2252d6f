// Device addresses. A missing address is assigned when the domain is defined, and is written into it, so that both sides of a
// migration use the same.

import { defaulted, element, elementBy, guest, type Model, needed, optional } from "../xml/table.js";
import { hex, onOff, text, whole } from "../xml/values.js";

const kind = guest("must fit the device");

const pci = {
  domain: defaulted(hex(4, 0), 0, guest("PCI has a single domain here")),
  bus: defaulted(hex(2, 255), 0, guest("-device bus: the PCI controller with that index")),
  slot: needed(hex(2, 31), guest("-device addr")),
  function: defaulted(hex(1, 7), 0, guest("-device addr")),
  multifunction: optional(onOff, guest("-device multifunction")),
};
const drive = {
  controller: defaulted(whole(0, 255), 0, guest("-device bus: the controller with that index")),
  bus: defaulted(whole(0, 1), 0, guest("-device bus or channel")),
  target: defaulted(whole(0, 255), 0, guest("-device scsi-id")),
  unit: defaulted(whole(0, 16_383), 0, guest("-device unit, scsi-id or lun")),
};

export const pciAddress = elementBy("type", kind, { pci }, {});
export type PciAddress = Model<typeof pciAddress>;

export const diskAddress = elementBy("type", kind, { pci, drive }, {});
export type DiskAddress = Model<typeof diskAddress>;

export const inputAddress = elementBy(
  "type",
  kind,
  {
    pci,
    usb: {
      bus: defaulted(whole(0, 255), 0, guest("-device bus: the USB controller with that index")),
      port: needed(text("a port such as 1 or 1.2", /^[1-9]\d?(?:\.[1-9]\d?){0,3}$/), guest("-device port")),
    },
  },
  {},
);

export const portAddress = elementBy(
  "type",
  kind,
  {
    "virtio-serial": {
      controller: defaulted(
        whole(0, 255),
        0,
        guest("-device bus: the virtio-serial controller with that index"),
      ),
      bus: defaulted(whole(0, 0), 0, guest("a virtio-serial controller has one bus")),
      port: needed(whole(0, 510), guest("-device nr")),
    },
  },
  {},
);

/** True for an alias that a user chose; every other device is named as libvirt would name it. */
export const isOfPerson = (alias: string) => alias.startsWith("ua-");

export const alias = element({
  name: needed(text("a name of letters, digits, - and _", /^[A-Za-z][\w.-]{0,62}$/), {
    sees: { of: (name) => (name !== undefined && isOfPerson(name) ? name : null) },
    does: "-device id when it begins with ua-; otherwise the device gets the name that libvirt generates",
  }),
});
export const boot = element({ order: needed(whole(1, 999), guest("-device bootindex")) });
