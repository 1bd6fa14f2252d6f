// The other devices: controllers, display, input, random number generators, the balloon.

import {
  defaulted,
  element,
  elementBy,
  exactlyOne,
  guest,
  host,
  idle,
  type Model,
  many,
  needed,
  one,
  optional,
  optionalContent,
  refusedAttribute,
} from "../xml/table.js";
import { hex, onOff, path, text, whole, word, yesNo } from "../xml/values.js";
import { alias, inputAddress, pciAddress } from "./address.js";

export const controller = elementBy(
  "type",
  guest("-device"),
  {
    usb: {
      model: optional(
        word(
          "piix3-uhci",
          "piix4-uhci",
          "ehci",
          "nec-xhci",
          "qemu-xhci",
          "ich9-ehci1",
          "ich9-uhci1",
          "ich9-uhci2",
          "ich9-uhci3",
          "none",
        ),
        guest("-device; default piix3-uhci, on q35 qemu-xhci"),
      ),
      ports: optional(whole(1, 15), guest("-device p2 and p3 of an xhci")),
      master: one(element({ startport: needed(whole(0, 5), guest("-device firstport")) })),
    },
    scsi: { model: optional(word("virtio-scsi", "lsilogic"), guest("-device; default lsilogic")) },
    ide: { model: optional(word("piix3"), idle("built into the machine")) },
    sata: {},
    "virtio-serial": {
      ports: optional(whole(1, 511), guest("-device max_ports")),
      vectors: optional(whole(0, 512), guest("-device vectors")),
    },
    pci: {
      model: needed(
        word(
          "pci-root",
          "pcie-root",
          "pcie-root-port",
          "pcie-to-pci-bridge",
          "pci-bridge",
          "dmi-to-pci-bridge",
        ),
        guest("-device; the root controllers are built into the machine"),
      ),
      device: {
        ...one(
          element({
            name: needed(
              word("pcie-root-port", "ioh3420", "pcie-pci-bridge", "pci-bridge", "i82801b11-bridge"),
              guest("-device"),
            ),
          }),
        ),
        name: "model",
      },
      target: one(
        element({
          chassis: optional(whole(0, 255), guest("-device chassis; default: the index")),
          port: optional(hex(1, 255), guest("-device port; default: by the address")),
          chassisNr: optional(whole(1, 255), guest("-device chassis_nr; default: the index")),
          hotplug: optional(onOff, guest("-device hotplug")),
        }),
      ),
    },
  },
  {
    index: defaulted(whole(0, 255), 0, guest("addresses refer to it")),
    address: one(pciAddress),
    alias: one(alias),
  },
);
export type Controller = Model<typeof controller>;

const listenAddress = text("an address or host name", /^[\w.:%-]{1,255}$/);
export const graphics = elementBy(
  "type",
  host("-vnc"),
  {
    vnc: {
      port: optional(whole(-1, 65_535), host("-vnc; -1: the first free port")),
      autoport: optional(yesNo, host("-vnc to=: the first free port")),
      websocket: optional(whole(-1, 65_535), host("-vnc websocket; -1: follows from the port")),
      listen: optional(listenAddress, host("-vnc; default 127.0.0.1")),
      socket: optional(path, host("-vnc unix:")),
      sharePolicy: optional(word("allow-exclusive", "force-shared", "ignore"), host("-vnc share")),
      passwd: refusedAttribute(
        "remove it, and listen on a unix socket that only the intended users can open",
      ),
      listens: many(
        "listen",
        elementBy(
          "type",
          host("-vnc"),
          {
            address: { address: optional(listenAddress, host("-vnc")) },
            socket: { socket: needed(path, host("-vnc unix:")) },
            none: {},
          },
          {},
        ),
        { sees: "nothing" },
      ),
    },
  },
  { alias: one(alias) },
);
export type Graphics = Model<typeof graphics>;

const heads = optional(whole(1, 16), guest("-device max_outputs"));
const oneHead = optional(whole(1, 1), idle("the card has one"));
const primary = optional(yesNo, idle("a domain has one video card"));
const kib = (does: string) => optional(whole(1, 2 ** 21), guest(does));
export const video = element({
  model: exactlyOne(
    elementBy(
      "type",
      guest("-device VGA, cirrus-vga, virtio-vga, qxl-vga or bochs-display"),
      {
        vga: { vram: kib("-device vgamem_mb"), heads: oneHead, primary },
        cirrus: {
          vram: optional(whole(1, 2 ** 21), idle("the card's memory is fixed")),
          heads: oneHead,
          primary,
        },
        virtio: { heads, primary },
        qxl: {
          ram: kib("-device ram_size"),
          vram: kib("-device vram_size"),
          vram64: kib("-device vram64_size_mb"),
          vgamem: kib("-device vgamem_mb"),
          heads,
          primary,
        },
        bochs: { vram: kib("-device vgamem"), heads: oneHead, primary },
        none: {},
      },
      {},
    ),
  ),
  address: one(pciAddress),
  alias: one(alias),
});
export type Video = Model<typeof video>;

export const input = element({
  type: needed(word("tablet", "mouse", "keyboard"), guest("-device …-tablet, …-mouse or …-kbd")),
  bus: optional(word("usb", "virtio", "ps2"), guest("-device usb-… or virtio-…; ps2 is built in")),
  address: one(inputAddress),
  alias: one(alias),
});
export type Input = Model<typeof input>;

export const rng = element({
  model: needed(word("virtio"), guest("-device virtio-rng-pci")),
  rate: one(
    element({
      bytes: needed(whole(1, 2 ** 31 - 1), guest("-device max-bytes")),
      period: defaulted(whole(1, 2 ** 31 - 1), 1000, guest("-device period, in ms")),
    }),
  ),
  backend: exactlyOne(
    elementBy(
      "model",
      host("-object rng-random or rng-builtin"),
      {
        random: {
          text: optionalContent(
            text("/dev/random, /dev/urandom or /dev/hwrng", /^\/dev\/(?:u?random|hwrng)$/),
            host("-object rng-random,filename; default /dev/random"),
          ),
        },
        builtin: {},
      },
      {},
    ),
  ),
  address: one(pciAddress),
  alias: one(alias),
});

export const memballoon = element({
  model: needed(word("virtio", "none"), guest("-device virtio-balloon-pci")),
  autodeflate: optional(onOff, guest("-device deflate-on-oom")),
  freePageReporting: optional(onOff, guest("-device free-page-reporting")),
  address: one(pciAddress),
  alias: one(alias),
});

/** Audio backend of a sound card or of VNC; sound is not supported. */
export const audio = elementBy(
  "type",
  host("none"),
  { none: {} },
  { id: optional(whole(1, 2 ** 31 - 1), idle("sound is not supported")) },
);
