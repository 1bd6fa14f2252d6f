// Refused devices and device settings.

import { bare, domainXml } from "../../../../support/domains.js";
import { disk } from "../cases/case.js";
import type { Refused } from "./system.js";

const controller = (xml: string) => `<controller ${xml}/>`;

export const refusedDevices: readonly Refused[] = [
  [
    "a disk without a target",
    bare({ devices: "<disk type='file'><target dev='vda'/></disk>" }),
    ["domain/devices/disk[1]/source", "it is not given"],
  ],
  [
    "a disk's source of another type",
    bare({ devices: "<disk type='file'><source dev='/dev/a'/><target dev='vda'/></disk>" }),
    ["domain/devices/disk[1]/source/@file", "it is not given"],
    ["domain/devices/disk[1]/source/@dev", "the attribute dev"],
  ],
  [
    "a floppy",
    bare({ devices: disk("dev='fda'", "", "/a", "type='file' device='floppy'") }),
    ["domain/devices/disk[1]/@device", '"floppy"'],
    ["domain/devices/disk[1]/target/@dev", '"fda"'],
  ],
  [
    "an image of another format",
    bare({ devices: disk("dev='vda'", "<driver type='vmdk'/>") }),
    ["domain/devices/disk[1]/driver/@type", '"vmdk"'],
  ],
  [
    "an explicit backing chain",
    bare({ devices: disk("dev='vda'", "<backingStore type='file'><format type='raw'/></backingStore>") }),
    ["domain/devices/disk[1]/backingStore/@type", "the attribute type"],
    ["domain/devices/disk[1]/backingStore/format", "<format>"],
  ],
  [
    "a limit on a disk",
    bare({ devices: disk("dev='vda'", "<iotune/>") }),
    ["domain/devices/disk[1]/iotune", "<iotune>"],
  ],
  [
    "an I/O thread",
    bare({ devices: disk("dev='vda'", "<driver iothread='1'/>") }),
    ["domain/devices/disk[1]/driver/@iothread", "the attribute iothread"],
  ],
  [
    "native I/O on a cached disk",
    bare({ devices: disk("dev='vda'", "<driver io='native'/>") }),
    ["domain/devices/disk[1]/driver/@io", "native requires a disk"],
  ],
  [
    "detect_zeroes='unmap' on a disk without discard",
    bare({ devices: disk("dev='vda'", "<driver detect_zeroes='unmap'/>") }),
    ["domain/devices/disk[1]/driver/@detect_zeroes", "unmap requires a disk with discard"],
  ],
  [
    "a qcow2 image for several guests",
    bare({ devices: disk("dev='vda'", "<driver type='qcow2'/><shareable/>") }),
    ["domain/devices/disk[1]/driver/@type", "several guests cannot write to one qcow2 image"],
  ],
  [
    "a cdrom on virtio",
    bare({ devices: disk("dev='vda'", "", "/a", "type='file' device='cdrom'") }),
    ["domain/devices/disk[1]/@device", "a virtio disk cannot be a cdrom"],
  ],
  [
    "a serial that virtio would truncate",
    bare({ devices: disk("dev='vda'", "<serial>123456789012345678901</serial>") }),
    ["domain/devices/disk[1]/serial", "virtio exposes at most 20"],
  ],
  [
    "two disks of one name",
    bare({ devices: disk("dev='vda'") + disk("dev='vda'") }),
    ["domain/devices/disk[2]/target/@dev", "another disk has the target vda"],
  ],
  [
    "two virtio disks of one name",
    bare({ devices: disk("dev='vda'") + disk("dev='sda' bus='virtio'") }),
    ["domain/devices/disk[2]/target/@dev", "another virtio disk has the same letters"],
  ],
  [
    "two disks at one address",
    bare({
      devices:
        disk("dev='sda' bus='sata'") + disk("dev='sdb' bus='sata'", "<address type='drive' unit='0'/>"),
    }),
    ["domain/devices/disk[2]/address/@unit", "another disk has this address"],
  ],
  [
    "a SATA disk that cannot be written",
    bare({ devices: disk("dev='sda' bus='sata'", "<readonly/>") }),
    ["domain/devices/disk[1]/readonly", "a sata disk cannot be read-only"],
  ],
  [
    "a fifth IDE disk",
    bare({ devices: disk("dev='hde'") }),
    ["domain/devices/disk[1]/address", "the machine's IDE controller supports four"],
  ],
  [
    "IDE on a q35",
    bare({ machine: "q35", devices: disk("dev='hda'") }),
    ["domain/devices/disk[1]/address", "a q35 machine does not support IDE"],
  ],
  [
    "a seventh port on SATA",
    bare({ devices: disk("dev='sda' bus='sata'", "<address type='drive' unit='6'/>") }),
    ["domain/devices/disk[1]/address/@unit", "a controller supports six"],
  ],
  [
    "a PCI address for a SCSI disk",
    bare({ devices: disk("dev='sda'", "<address type='pci' slot='9'/>") }),
    ["domain/devices/disk[1]/address", "a scsi disk requires a drive address"],
  ],
  [
    "a drive's address for virtio",
    bare({ devices: disk("dev='vda'", "<address type='drive'/>") }),
    ["domain/devices/disk[1]/address/@type", "the device is a PCI device"],
  ],
  [
    "an NBD disk without a host, with two hosts, and with a socket without a path",
    bare({
      devices: [
        "",
        "<host name='a'/><host name='b'/>",
        "<host transport='unix' name='a'/>",
        "<host socket='/a'/>",
      ]
        .map(
          (xml, index) =>
            `<disk type='network'><source protocol='nbd'>${xml}</source><target dev='vd${"abcd"[index]}'/></disk>`,
        )
        .join(""),
    }),
    ["domain/devices/disk[1]/source/host", "it is not given"],
    ["domain/devices/disk[2]/source/host[2]", "a second server is not supported"],
    ["domain/devices/disk[3]/source/host[1]/@socket", "it is not given"],
    ["domain/devices/disk[3]/source/host[1]/@name", "a unix socket does not use it"],
    ["domain/devices/disk[4]/source/host[1]/@name", "it is not given"],
    ["domain/devices/disk[4]/source/host[1]/@socket", "tcp does not use it"],
  ],
  [
    "a disk of another protocol",
    bare({ devices: "<disk type='network'><source protocol='rbd' name='a/b'/><target dev='vda'/></disk>" }),
    ["domain/devices/disk[1]/source/@protocol", '"rbd"'],
  ],
  [
    "a PCI slot that the machine occupies",
    bare({ devices: disk("dev='vda'", "<address type='pci' slot='1'/>") }),
    ["domain/devices/disk[1]/address/@slot", "slot 1 is reserved by the machine"],
  ],
  [
    "two devices in one slot",
    bare({
      devices:
        disk("dev='vda'", "<address type='pci' slot='9'/>") +
        disk("dev='vdb'", "<address type='pci' slot='9'/>"),
    }),
    ["domain/devices/disk[2]/address/@slot", "another device has this address"],
  ],
  [
    "a PCI bus that does not exist",
    bare({ devices: disk("dev='vda'", "<address type='pci' bus='3' slot='9'/>") }),
    ["domain/devices/disk[1]/address/@bus", "there is no PCI controller 3"],
  ],
  [
    "more devices than there are slots",
    bare({ devices: "<interface type='user'/>".repeat(31) }),
    ["domain/devices/interface[31]", "the bus has no free slot for the device"],
  ],
  [
    "an IDE controller at another address",
    bare({ devices: "<controller type='ide'><address type='pci' slot='5'/></controller>" }),
    ["domain/devices/controller[2]/address/@slot", "the machine has this controller at another address"],
  ],
  [
    "a second IDE controller",
    bare({ devices: controller("type='ide' index='1'") }),
    ["domain/devices/controller[2]", "an IDE controller beside"],
  ],
  [
    "two controllers with one index",
    bare({ devices: controller("type='sata'").repeat(2) }),
    ["domain/devices/controller[3]/@index", "another controller is sata 0"],
  ],
  [
    "another machine's PCI root",
    bare({ devices: controller("type='pci' model='pcie-root'") }),
    ["domain/devices/controller[2]/@model", "the machine has a pci-root"],
  ],
  [
    "PCI Express on an i440fx, at index 0, and with another model name",
    bare({
      devices:
        "<controller type='pci' index='0' model='pcie-root-port'><model name='pci-bridge'/></controller>",
    }),
    ["domain/devices/controller[2]/@index", "index 0 is the machine's root controller"],
    ["domain/devices/controller[2]/@model", "an i440fx machine does not support PCI Express controllers"],
    ["domain/devices/controller[2]/model/@name", "it is not a pcie-root-port"],
  ],
  [
    "ports for a controller with a fixed number",
    domainXml({ devices: controller("type='usb' model='ehci' ports='3'") }),
    ["domain/devices/controller[1]/@ports", "only an xhci"],
  ],
  [
    "a libvirt network",
    bare({ devices: "<interface type='network'><source network='default'/></interface>" }),
    ["domain/devices/interface[1]/@type", '"network" is not supported'],
  ],
  [
    "a multiqueue network card",
    bare({ devices: "<interface type='user'><mac address='01:00:00:00:00:00'/></interface>" }),
    ["domain/devices/interface[1]/mac/@address", '"01:00'],
  ],
  [
    "two cards with one MAC address",
    bare({ devices: "<interface type='user'><mac address='52:54:00:00:00:01'/></interface>".repeat(2) }),
    ["domain/devices/interface[2]/mac/@address", "another interface has this MAC address"],
  ],
  [
    "a link that is down",
    bare({ devices: "<interface type='user'><link state='down'/></interface>" }),
    ["domain/devices/interface[1]/link/@state", '"down"'],
  ],
  [
    "a tap name that contains an option",
    bare({ devices: "<interface type='ethernet'><target dev='a,fd=3'/></interface>" }),
    ["domain/devices/interface[1]/target/@dev", '"a,fd=3"'],
  ],
  [
    "a serial port on stdio",
    bare({ devices: "<serial type='stdio'/>" }),
    ["domain/devices/serial[1]/@type", '"stdio" is not supported'],
  ],
  [
    "a fifth serial port is not supported",
    bare({ devices: "<serial type='null'/>".repeat(5) }),
    ["domain/devices/serial[5]", "a fifth serial port is not supported"],
  ],
  [
    "a serial port with a wrong number",
    bare({ devices: "<serial type='null'><target port='2'/></serial>" }),
    ["domain/devices/serial[1]/target/@port", "its position in the list makes it serial port 0"],
  ],
  [
    "a socket without a path",
    bare({ devices: "<serial type='unix'/>" }),
    ["domain/devices/serial[1]/source", "it is not given"],
  ],
  [
    "a socket with a path too long",
    bare({ devices: `<serial type='unix'><source path='/${"a".repeat(107)}'/></serial>` }),
    ["domain/devices/serial[1]/source/@path", `/${"a".repeat(107)} is too long`],
  ],
  [
    "a console on a serial port that differs from the first",
    bare({ devices: "<serial type='null'/><console type='pty'/><console type='null'/>" }),
    ["domain/devices/console[1]/@type", "the first console is an alias of the first serial port"],
    ["domain/devices/console[2]", "a second console on a serial port is not supported"],
  ],
  [
    "a SPICE channel",
    bare({ devices: "<channel type='spicevmc'><target type='virtio' name='a'/></channel>" }),
    ["domain/devices/channel[1]/@type", '"spicevmc" is not supported'],
  ],
  [
    "two ports with one name, and with one number",
    bare({
      devices:
        "<channel type='null'><target type='virtio' name='a'/><address type='virtio-serial' port='3'/></channel>".repeat(
          2,
        ),
    }),
    ["domain/devices/channel[2]/target/@name", "another port is named a"],
    ["domain/devices/channel[2]/address/@port", "another port is port 3 of controller 0"],
  ],
  [
    "two devices with one alias",
    bare({ devices: disk("dev='vda'", "<alias name='ua-a'/>") + disk("dev='vdb'", "<alias name='ua-a'/>") }),
    ["domain/devices/disk[2]/alias", "another device has the name ua-a"],
  ],
  [
    "a port that its controller does not have",
    bare({
      devices:
        "<channel type='null'><target type='virtio' name='a'/><address type='virtio-serial' controller='1' port='1'/></channel><channel type='null'><target type='virtio' name='b'/><address type='virtio-serial' port='31'/></channel>",
    }),
    ["domain/devices/channel[1]/address/@controller", "there is no virtio-serial controller 1"],
    ["domain/devices/channel[2]/address/@port", "the controller does not have this port"],
  ],
  [
    "an unsupported display",
    bare({ devices: "<graphics type='spice'/>" }),
    ["domain/devices/graphics[1]/@type", '"spice" is not supported'],
  ],
  [
    "a password on the command line",
    bare({ devices: "<graphics type='vnc' passwd='secret'/>" }),
    ["domain/devices/graphics[1]/@passwd", 'passwd="secret"'],
  ],
  [
    "a VNC port below QEMU's first",
    bare({ devices: "<graphics type='vnc' port='5899'/>" }),
    ["domain/devices/graphics[1]/@port", "VNC ports below 5900 are not supported"],
  ],
  [
    "a second device of a kind that may exist once",
    bare({ devices: "<graphics type='vnc'/>".repeat(2) + "<video><model type='none'/></video>".repeat(2) }),
    ["domain/devices/graphics[2]", "a second display is not supported"],
    ["domain/devices/video[2]", "a second video card is not supported"],
  ],
  [
    "video memory that is not a power of two",
    bare({ devices: "<video><model type='vga' vram='5000'/></video>" }),
    ["domain/devices/video[1]/model/@vram", "the size is not a power of two"],
  ],
  [
    "a tablet on PS/2 is not supported",
    bare({ devices: "<input type='tablet' bus='ps2'/>" }),
    ["domain/devices/input[1]/@bus", "a tablet on PS/2 is not supported"],
  ],
  [
    "more input devices than ports",
    domainXml({ devices: "<input type='tablet' bus='usb'/>".repeat(3) }),
    ["domain/devices/input[3]/address", "no USB port is free"],
  ],
  [
    "two devices on one port, and one on a bus that does not exist",
    domainXml({
      devices:
        "<input type='tablet' bus='usb'><address type='usb' port='1'/></input>".repeat(2) +
        "<input type='tablet' bus='usb'><address type='usb' bus='4' port='1'/></input>",
    }),
    ["domain/devices/input[2]/address/@port", "another device uses this port"],
    ["domain/devices/input[3]/address/@bus", "there is no such USB controller"],
  ],
  [
    "a host device",
    bare({ devices: "<hostdev mode='subsystem' type='usb'/><filesystem/><redirdev/>" }),
    ["domain/devices/hostdev", "<hostdev> is not supported"],
    ["domain/devices/filesystem", "<filesystem> is"],
    ["domain/devices/redirdev", "<redirdev> is"],
  ],
  [
    "unknown elements",
    bare({ devices: "<tpm model='tpm-tis'/>", more: "<launchSecurity type='sev'/>" }),
    ["domain/launchSecurity", "<launchSecurity> is not supported"],
    ["domain/devices/tpm", "<tpm> is not supported"],
  ],
  [
    "a regular file as an entropy source",
    bare({ devices: "<rng model='virtio'><backend model='random'>/etc/passwd</backend></rng>" }),
    ["domain/devices/rng[1]/backend", '"/etc/passwd"'],
  ],
  [
    "a security label",
    bare({ more: "<seclabel type='dynamic' model='dac'/>" }),
    ["domain/seclabel[1]/@type", '"dynamic" is not supported'],
  ],
  [
    "QEMU arguments that switchover sets itself",
    bare({
      more: `<qemu:commandline>${["-S", "--incoming", "-daemonize", "-name", "-uuid"].map((xml) => `<qemu:arg value='${xml}'/>`).join("")}</qemu:commandline>`,
    }),
    ...["-S", "--incoming", "-daemonize", "-name", "-uuid"].map((value, index): [string, string] => [
      `domain/commandline/arg[${index + 1}]/@value`,
      `switchover sets ${value} itself`,
    ]),
  ],
  [
    "unknown elements in QEMU's namespace",
    bare({ more: "<commandline><arg value='-S'/></commandline>" }),
    ["domain/commandline", "<commandline> is not supported"],
  ],
];
