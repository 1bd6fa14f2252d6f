// Network cards and character devices.

import { bare } from "../../../../support/domains.js";
import { type Case, device, mac, slot } from "./case.js";

const net = (driver: string, index: number, addr: string) =>
  device(driver, {
    id: `net${index}`,
    netdev: `hostnet${index}`,
    mac: `52:54:00:00:00:0${index}`,
    ...slot(addr),
  });
export const networks: readonly Case[] = [
  {
    says: "a network of its own, with each kind of card",
    xml: bare({
      devices: ["virtio", "e1000", "e1000e", "rtl8139"]
        .map(
          (text, index) =>
            `<interface type='user'>${mac(index)}<model type='${text}'/><link state='up'/></interface>`,
        )
        .join(""),
    }),
    hardware: [
      net("virtio-net-pci", 0, "0x2"),
      net("e1000", 1, "0x3"),
      net("e1000e", 2, "0x4"),
      net("rtl8139", 3, "0x5"),
    ],
    host: [0, 1, 2, 3].map((value) => `-netdev user,id=hostnet${value}`),
  },
  {
    says: "a tap, and a bridge",
    xml: bare({
      devices: `<interface type='ethernet'>${mac(0)}<target dev='tap0' managed='no'/><alias name='ua-net'/></interface><interface type='bridge'>${mac(1)}<source bridge='br0'/></interface>`,
    }),
    hardware: [
      device("rtl8139", { id: "ua-net", netdev: "hostnet0", mac: "52:54:00:00:00:00", ...slot("0x2") }),
      net("rtl8139", 1, "0x3"),
    ],
    host: [
      "-netdev tap,id=hostnet0,ifname=tap0,script=no,downscript=no",
      "-netdev bridge,id=hostnet1,br=br0",
    ],
    needs: "network",
  },
];

const serial = (index: number) =>
  device("isa-serial", { id: `serial${index}`, chardev: `charserial${index}`, index });
export const characters: readonly Case[] = [
  {
    says: "serial ports on each kind of backend",
    xml: bare({
      devices: `<serial type='pty'><source path='/dev/pts/9'/><target type='isa-serial' port='0'><model name='isa-serial'/></target><alias name='serial0'/></serial>
        <serial type='file'><source path='/img/se,rial' append='on'/></serial>
        <serial type='unix'><source mode='bind' path='/img/serial.sock'/></serial>
        <serial type='tcp'><source mode='bind' host='127.0.0.1' service='45999'/><protocol type='telnet'/></serial>
        <console type='pty' tty='/dev/pts/9'><target type='serial' port='0'/></console>`,
    }),
    hardware: [0, 1, 2, 3].map(serial),
    host: [
      "-chardev pty,id=charserial0",
      "-chardev file,id=charserial1,path=/img/se,,rial,append=on",
      "-chardev socket,id=charserial2,path=/img/serial.sock,server=on,wait=off",
      "-chardev socket,id=charserial3,host=127.0.0.1,port=45999,telnet=on,server=on,wait=off",
    ],
  },
  {
    says: "sockets that are connected to, and nothing at all",
    xml: bare({
      devices: `<serial type='null'/><serial type='tcp'><source mode='connect' host='::1' service='1'/><protocol type='raw'/></serial><serial type='unix'><source mode='connect' path='/x'/></serial>`,
    }),
    host: [
      "-chardev null,id=charserial0",
      "-chardev socket,id=charserial1,host=::1,port=1",
      "-chardev socket,id=charserial2,path=/x",
    ],
    needs: "network",
  },
  {
    says: "a console that is a serial port",
    xml: bare({ devices: "<console type='null'/>" }),
    hardware: [serial(0)],
    host: ["-chardev null,id=charserial0"],
  },
  {
    says: "a console on virtio, and the guest agent's channel",
    xml: bare({
      devices: `<controller type='virtio-serial' index='0' ports='16' vectors='4'/><console type='null'><target type='virtio' port='0'/><address type='virtio-serial' controller='0' bus='0' port='0'/><alias name='ua-c'/></console>
        <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='disconnected'/><alias name='channel0'/></channel>
        <channel type='unix'><source mode='bind' path='/img/c'/><target type='virtio' name='x'/><address type='virtio-serial' controller='0' bus='0' port='7'/></channel>`,
    }),
    hardware: [
      device("virtio-serial-pci", { id: "virtio-serial0", ...slot("0x2"), max_ports: 16, vectors: 4 }),
      device("virtconsole", { id: "ua-c", chardev: "charconsole0", bus: "virtio-serial0.0", nr: 0 }),
      device("virtserialport", {
        id: "channel0",
        chardev: "charchannel0",
        name: "org.qemu.guest_agent.0",
        bus: "virtio-serial0.0",
        nr: 1,
      }),
      device("virtserialport", {
        id: "channel1",
        chardev: "charchannel1",
        name: "x",
        bus: "virtio-serial0.0",
        nr: 7,
      }),
    ],
    host: [
      "-chardev null,id=charconsole0",
      "-chardev socket,id=charchannel0,path=/run/guest/org.qemu.guest_agent.0,server=on,wait=off",
      "-chardev socket,id=charchannel1,path=/img/c,server=on,wait=off",
    ],
  },
];
