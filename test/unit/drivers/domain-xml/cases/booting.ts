// Firmware, kernels, boot order.

import { bare } from "../../../../support/domains.js";
import { type Case, device, disk, file, format, slot } from "./case.js";

export const booting: readonly Case[] = [
  {
    says: "a firmware in ROM",
    xml: bare({ os: "<loader type='rom'>/img/bios</loader>" }),
    host: ["-bios /img/bios"],
  },
  {
    says: "a firmware in flash, with its variables",
    xml: bare({
      machine: "q35",
      os: "<loader readonly='yes' secure='no' type='pflash'>/img/bios</loader><nvram template='/x'>/img/vars</nvram>",
    }),
    hardware: ["-machine q35,usb=off,dump-guest-core=off,pflash0=pflash0-format,pflash1=pflash1-format"],
    host: [
      file("/img/bios", "pflash0"),
      format("pflash0", {}, true),
      file("/img/vars", "pflash1"),
      format("pflash1"),
    ],
  },
  {
    says: "a kernel of the host's",
    xml: bare({
      os: "<kernel>/img/kernel</kernel><initrd>/img/initrd</initrd><cmdline>console=ttyS0, a=b</cmdline>",
    }),
    hardware: ["-append console=ttyS0, a=b"],
    host: ["-kernel /img/kernel", "-initrd /img/initrd"],
  },
  {
    says: "a boot menu, and what the firmware does when nothing boots",
    xml: bare({ os: "<bootmenu enable='yes' timeout='3000'/><bios rebootTimeout='100'/>" }),
    hardware: ["-boot menu=on,splash-time=3000,reboot-timeout=100,strict=on"],
  },
  {
    says: "an order of kinds: the first of each",
    xml: bare({
      os: "<boot dev='network'/><boot dev='cdrom'/><boot dev='hd'/>",
      devices: `${disk("dev='vda'")}${disk("dev='vdb'", "", "/img/raw2")}<disk type='file' device='cdrom'><target dev='hda'/></disk><interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>`,
    }),
    hardware: [
      device("virtio-blk-pci", { id: "virtio-disk0", ...slot("0x3"), drive: "vda-format", bootindex: 3 }),
      device("virtio-blk-pci", { id: "virtio-disk1", ...slot("0x4"), drive: "vdb-format" }),
      device("ide-cd", { id: "ide0-0-0", bus: "ide.0", unit: 0, bootindex: 2 }),
      device("virtio-net-pci", {
        id: "net0",
        netdev: "hostnet0",
        mac: "52:54:00:00:00:01",
        ...slot("0x2"),
        bootindex: 1,
      }),
    ],
  },
  {
    says: "an order of devices",
    xml: bare({
      devices: `${disk("dev='vda'", "<boot order='2'/>")}<interface type='user'><mac address='52:54:00:00:00:01'/><model type='e1000'/><boot order='1'/></interface>`,
    }),
    hardware: [
      device("virtio-blk-pci", { id: "virtio-disk0", ...slot("0x3"), drive: "vda-format", bootindex: 2 }),
      device("e1000", {
        id: "net0",
        netdev: "hostnet0",
        mac: "52:54:00:00:00:01",
        ...slot("0x2"),
        bootindex: 1,
      }),
    ],
  },
];
