// Disks: nodes, devices, buses.

import { bare } from "../../../../support/domains.js";
import { boot, type Case, device, disk, file, format, node, slot } from "./case.js";

const cacheOf = (direct: boolean, noFlush = false) => ({ cache: { direct, "no-flush": noFlush } });
export const disks: readonly Case[] = [
  {
    says: "a disk in a file, with every setting of its driver",
    xml: bare({
      devices: `<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' io='native' discard='unmap' detect_zeroes='unmap' error_policy='stop' rerror_policy='report'/>
        <source file='/img/raw' index='3'/><target dev='vda' bus='virtio'/><serial>AB-1 2</serial><alias name='ua-mine'/></disk>`,
    }),
    hardware: [
      device("virtio-blk-pci", {
        id: "ua-mine",
        ...slot("0x2"),
        drive: "vda-format",
        ...boot,
        "write-cache": "on",
        serial: "AB-1 2",
        werror: "stop",
        rerror: "report",
      }),
    ],
    host: [
      node({
        driver: "file",
        filename: "/img/raw",
        aio: "native",
        "node-name": "vda-storage",
        ...cacheOf(true),
        "auto-read-only": true,
        discard: "unmap",
      }),
      format("vda", { discard: "unmap", "detect-zeroes": "unmap", ...cacheOf(true) }),
    ],
  },
  ...(
    [
      ["writeback", false, false, "on"],
      ["writethrough", false, false, "off"],
      ["directsync", true, false, "off"],
      ["unsafe", false, true, "on"],
    ] as const
  ).map(
    ([mode, direct, noFlush, writeCache]): Case => ({
      says: `the cache mode ${mode}`,
      xml: bare({ devices: disk("dev='vda'", `<driver cache='${mode}'/>`) }),
      hardware: [
        device("virtio-blk-pci", {
          id: "virtio-disk0",
          ...slot("0x2"),
          drive: "vda-format",
          ...boot,
          "write-cache": writeCache,
        }),
      ],
      host: [file("/img/raw", "vda", cacheOf(direct, noFlush)), format("vda", cacheOf(direct, noFlush))],
    }),
  ),
  {
    says: "a disk that pauses the guest when it is full",
    xml: bare({ devices: disk("dev='vda'", "<driver error_policy='enospace'/>") }),
    hardware: [
      device("virtio-blk-pci", {
        id: "virtio-disk0",
        ...slot("0x2"),
        drive: "vda-format",
        ...boot,
        werror: "enospc",
      }),
    ],
  },
  {
    says: "a qcow2 image that ends its chain",
    xml: bare({ devices: disk("dev='vda'", "<driver type='qcow2'/><backingStore/>", "/img/qcow2") }),
    host: [
      file("/img/qcow2", "vda"),
      node({
        "node-name": "vda-format",
        "read-only": false,
        driver: "qcow2",
        file: "vda-storage",
        backing: null,
      }),
    ],
  },
  {
    says: "a disk of several guests, which is not cached",
    xml: bare({ devices: disk("dev='vda'", "<shareable/>") }),
    hardware: [
      device("virtio-blk-pci", {
        id: "virtio-disk0",
        ...slot("0x2"),
        drive: "vda-format",
        ...boot,
        "write-cache": "on",
        "share-rw": true,
      }),
    ],
    host: [file("/img/raw", "vda", cacheOf(true)), format("vda", cacheOf(true))],
  },
  {
    says: "disks on IDE, in its second place and in its third",
    xml: bare({ devices: `${disk("dev='hdb'")}${disk("dev='hdc' bus='ide'", "", "/img/raw2")}` }),
    hardware: [
      device("ide-hd", { id: "ide0-0-1", bus: "ide.0", unit: 1, drive: "hdb-format", ...boot }),
      device("ide-hd", { id: "ide0-1-0", bus: "ide.1", unit: 0, drive: "hdc-format" }),
    ],
  },
  {
    says: "a disk that is only read",
    xml: bare({ devices: disk("dev='vda'", "<readonly/>") }),
    host: [file("/img/raw", "vda"), format("vda", {}, true)],
  },
  {
    says: "a cdrom with a disc, and an empty one",
    xml: bare({
      devices: `${disk("dev='hda' tray='closed'", "", "/img/iso", "type='file' device='cdrom'")}<disk type='file' device='cdrom'><target dev='sdb' bus='sata'/><readonly/></disk>`,
    }),
    hardware: [
      device("ide-cd", { id: "ide0-0-0", bus: "ide.0", unit: 0, drive: "hda-format" }),
      device("ich9-ahci", { id: "sata0", ...slot("0x2") }),
      device("ide-cd", { id: "sata0-0-1", bus: "sata0.1" }),
    ],
    host: [file("/img/iso", "hda"), format("hda", {}, true)],
  },
  {
    says: "disks on a q35's own SATA",
    xml: bare({ machine: "q35", devices: disk("dev='sdc' bus='sata'") }),
    hardware: [device("ide-hd", { id: "sata0-0-2", bus: "ide.2", drive: "sdc-format", ...boot })],
  },
  {
    says: "disks on virtio's SCSI",
    xml: bare({
      devices: `<controller type='scsi' index='0' model='virtio-scsi'/>${disk("dev='sda'")}${disk("dev='sdb'", "<address type='drive' controller='0' bus='0' target='3' unit='5'/>", "/img/raw2")}`,
    }),
    hardware: [
      device("virtio-scsi-pci", { id: "scsi0", ...slot("0x2") }),
      device("scsi-hd", {
        id: "scsi0-0-0-0",
        bus: "scsi0.0",
        channel: 0,
        "scsi-id": 0,
        lun: 0,
        device_id: "drive-scsi0-0-0-0",
        drive: "sda-format",
        ...boot,
      }),
      device("scsi-hd", {
        id: "scsi0-0-3-5",
        bus: "scsi0.0",
        channel: 0,
        "scsi-id": 3,
        lun: 5,
        device_id: "drive-scsi0-0-3-5",
        drive: "sdb-format",
      }),
    ],
  },
  {
    says: "the eighth SCSI disk on a second controller",
    xml: bare({ devices: disk("dev='sdh' bus='scsi'", "<readonly/>") }),
    hardware: [
      device("lsi53c895a", { id: "scsi0", ...slot("0x2") }),
      device("lsi53c895a", { id: "scsi1", ...slot("0x3") }),
      device("scsi-hd", {
        id: "scsi1-0-0",
        bus: "scsi1.0",
        "scsi-id": 0,
        device_id: "drive-scsi1-0-0",
        drive: "sdh-format",
        ...boot,
      }),
    ],
  },
  {
    says: "a block device",
    xml: bare({ devices: "<disk type='block'><source dev='/dev/sdx' index='1'/><target dev='vda'/></disk>" }),
    host: [
      node({
        driver: "host_device",
        filename: "/dev/sdx",
        "node-name": "vda-storage",
        "auto-read-only": true,
        discard: "unmap",
      }),
      format("vda"),
    ],
    needs: "block",
  },
  {
    says: "disks over NBD",
    xml: bare({
      devices: `<disk type='network'><source protocol='nbd' name='a,b' index='1'><host name='fd00::1' port='10810'/></source><target dev='vda'/></disk>
        <disk type='network'><source protocol='nbd'><host transport='unix' socket='/img/nbd'/></source><target dev='vdb'/></disk>`,
    }),
    host: [
      node({
        driver: "nbd",
        server: { type: "inet", host: "fd00::1", port: "10810" },
        export: "a,b",
        "node-name": "vda-storage",
        "auto-read-only": true,
        discard: "unmap",
      }),
      format("vda"),
      node({
        driver: "nbd",
        server: { type: "unix", path: "/img/nbd" },
        "node-name": "vdb-storage",
        "auto-read-only": true,
        discard: "unmap",
      }),
      format("vdb"),
    ],
    needs: "network",
  },
  {
    says: "addresses on PCI as they are given",
    xml: bare({
      devices: disk(
        "dev='vda'",
        "<address type='pci' domain='0x0000' bus='0x00' slot='0x1e' function='0x7' multifunction='on'/>",
      ),
    }),
    hardware: [
      device("virtio-blk-pci", {
        id: "virtio-disk0",
        bus: "pci.0",
        addr: "0x1e.0x7",
        multifunction: true,
        drive: "vda-format",
        ...boot,
      }),
    ],
  },
];
