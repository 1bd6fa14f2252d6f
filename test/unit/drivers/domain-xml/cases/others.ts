// Controllers, random number generators, the balloon.

import { bare } from "../../../../support/domains.js";
import { type Case, device, mac, slot } from "./case.js";

export const others: readonly Case[] = [
  {
    says: "random numbers",
    xml: bare({
      devices: `<rng model='virtio'><rate bytes='1000' period='2000'/><backend model='random'>/dev/urandom</backend></rng>
        <rng model='virtio'><rate bytes='9'/><backend model='random'/></rng><rng model='virtio'><backend model='builtin'/><address type='pci' slot='0x8'/><alias name='ua-r'/></rng>`,
    }),
    hardware: [
      device("virtio-rng-pci", {
        id: "rng0",
        rng: "objrng0",
        ...slot("0x2"),
        "max-bytes": 1000,
        period: 2000,
      }),
      device("virtio-rng-pci", { id: "rng1", rng: "objrng1", ...slot("0x3"), "max-bytes": 9, period: 1000 }),
      device("virtio-rng-pci", { id: "ua-r", rng: "objrng2", ...slot("0x8") }),
    ],
    host: [
      "-object rng-random,id=objrng0,filename=/dev/urandom",
      "-object rng-random,id=objrng1,filename=/dev/random",
      "-object rng-builtin,id=objrng2",
    ],
  },
  {
    says: "a balloon",
    xml: bare().replace(
      "<memballoon model='none'/>",
      "<memballoon model='virtio' autodeflate='on' freePageReporting='off'><address type='pci' slot='0x7'/><alias name='balloon0'/></memballoon>",
    ),
    hardware: [
      device("virtio-balloon-pci", {
        id: "balloon0",
        ...slot("0x7"),
        "deflate-on-oom": true,
        "free-page-reporting": false,
      }),
    ],
  },
  {
    says: "USB controllers of each kind",
    xml: bare().replace(
      "<controller type='usb' model='none'/>",
      `<controller type='usb' index='0' model='ich9-ehci1'><address type='pci' slot='0x1d' function='0x7'/></controller>
       <controller type='usb' index='0' model='ich9-uhci1'><master startport='0'/><address type='pci' slot='0x1d' function='0x0' multifunction='on'/></controller>
       <controller type='usb' index='1' model='qemu-xhci' ports='15'><alias name='ua-x'/></controller>
       <controller type='usb' index='2' model='nec-xhci'/><controller type='usb' index='3' model='ehci'/>
       <controller type='usb' index='4' model='piix4-uhci'/>`,
    ),
    hardware: [
      device("ich9-usb-ehci1", { id: "usb", bus: "pci.0", addr: "0x1d.0x7" }),
      device("qemu-xhci", { id: "ua-x", ...slot("0x2"), p2: 15, p3: 15 }),
      device("nec-usb-xhci", { id: "usb2", ...slot("0x3") }),
      device("usb-ehci", { id: "usb3", ...slot("0x4") }),
      device("piix4-usb-uhci", { id: "usb4", ...slot("0x5") }),
      device("ich9-usb-uhci1", {
        bus: "pci.0",
        addr: "0x1d",
        multifunction: true,
        masterbus: "usb.0",
        firstport: 0,
      }),
    ],
  },
  {
    says: "the controllers that a PC has anyway",
    xml: bare({
      devices: `<controller type='pci' index='0' model='pci-root'/><controller type='ide' index='0' model='piix3'><address type='pci' slot='1' function='1'/></controller>`,
    }),
    hardware: ["!-device"],
  },
  {
    says: "a PCI bridge, and what is behind it",
    xml: bare({
      devices: `<controller type='pci' index='1' model='pci-bridge'><model name='pci-bridge'/><target chassisNr='9'/></controller>
        <controller type='sata' index='0'><address type='pci' bus='1' slot='3'/></controller>`,
    }),
    hardware: [
      device("pci-bridge", { id: "pci.1", ...slot("0x2"), chassis_nr: 9 }),
      device("ich9-ahci", { id: "sata0", bus: "pci.1", addr: "0x3" }),
    ],
  },
  {
    says: "PCI Express ports, as libvirt lays them out on a q35",
    xml: bare({
      machine: "q35",
      devices: `<controller type='pci' index='0' model='pcie-root'/>
        <controller type='pci' index='1' model='pcie-root-port'><model name='pcie-root-port'/><target chassis='1' port='0x10' hotplug='off'/><address type='pci' slot='2' multifunction='on'/></controller>
        <controller type='pci' index='2' model='pcie-root-port'><model name='ioh3420'/><address type='pci' slot='2' function='1'/></controller>
        <controller type='pci' index='3' model='pcie-to-pci-bridge'><model name='pcie-pci-bridge'/><address type='pci' bus='1' slot='0'/></controller>
        <controller type='pci' index='4' model='dmi-to-pci-bridge'/>
        <controller type='sata' index='0'><address type='pci' slot='31' function='2'/></controller>
        <interface type='user'>${mac(0)}<model type='virtio'/><address type='pci' bus='2' slot='0'/></interface>
        <interface type='user'>${mac(1)}<model type='e1000'/><address type='pci' bus='3' slot='1'/></interface>`,
    }),
    hardware: [
      device("pcie-root-port", {
        id: "pci.1",
        bus: "pcie.0",
        addr: "0x2",
        multifunction: true,
        chassis: 1,
        port: 16,
        hotplug: false,
      }),
      device("ioh3420", { id: "pci.2", bus: "pcie.0", addr: "0x2.0x1", chassis: 2, port: 17 }),
      device("pcie-pci-bridge", { id: "pci.3", bus: "pci.1", addr: "0x0" }),
      device("i82801b11-bridge", { id: "pci.4", bus: "pcie.0", addr: "0x1" }),
      device("virtio-net-pci", {
        id: "net0",
        netdev: "hostnet0",
        mac: "52:54:00:00:00:00",
        bus: "pci.2",
        addr: "0x0",
      }),
      device("e1000", {
        id: "net1",
        netdev: "hostnet1",
        mac: "52:54:00:00:00:01",
        bus: "pci.3",
        addr: "0x1",
      }),
    ],
  },
];
