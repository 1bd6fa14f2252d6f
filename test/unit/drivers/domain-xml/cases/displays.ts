// Displays and input devices.

import { bare } from "../../../../support/domains.js";
import { type Case, device, slot } from "./case.js";

const card = (model: string) => `<graphics type='vnc' socket='/img/vnc'/><video>${model}</video>`;
const vnc = (says: string, graphics: string, argument: string, needs?: "network"): Case => ({
  says,
  xml: bare({ devices: `${graphics}<video><model type='none'/></video>` }),
  host: [`-vnc ${argument}`],
  ...(needs && { needs }),
});
export const displays: readonly Case[] = [
  vnc("VNC on the first free port", "<graphics type='vnc' port='-1' autoport='yes'/>", "127.0.0.1:0,to=99"),
  vnc(
    "VNC on a port, with an address, a share policy and a websocket",
    "<graphics type='vnc' port='5901' autoport='no' listen='0.0.0.0' sharePolicy='force-shared' websocket='5701'><listen type='address' address='fd00::1'/><alias name='ua-v'/></graphics>",
    "[fd00::1]:1,share=force-shared,websocket=5701",
    "network",
  ),
  vnc(
    "VNC at the address in older libvirt's form",
    "<graphics type='vnc' port='5999' listen='127.0.0.1' websocket='-1'/>",
    "127.0.0.1:99,websocket=on",
  ),
  vnc(
    "VNC on a socket",
    "<graphics type='vnc'><listen type='socket' socket='/img/vn,c'/></graphics>",
    "unix:/img/vn,,c",
  ),
  vnc("a VNC that listens nowhere", "<graphics type='vnc'><listen type='none'/></graphics>", "none"),
  {
    says: "a VGA card",
    xml: bare({ devices: card("<model type='vga' vram='32768' heads='1' primary='yes'/>") }),
    hardware: [device("VGA", { id: "video0", ...slot("0x2"), vgamem_mb: 32 })],
  },
  {
    says: "a Cirrus card",
    xml: bare({ devices: card("<model type='cirrus' vram='16384' heads='1' primary='yes'/>") }),
    hardware: [device("cirrus-vga", { id: "video0", ...slot("0x2") })],
  },
  {
    says: "virtio's card",
    xml: bare({
      devices: card(
        "<model type='virtio' heads='2' primary='yes'/><address type='pci' slot='0x5'/><alias name='ua-gpu'/>",
      ),
    }),
    hardware: [device("virtio-vga", { id: "ua-gpu", ...slot("0x5"), max_outputs: 2 })],
  },
  {
    says: "a QXL card",
    xml: bare({
      devices: card(
        "<model type='qxl' ram='65536' vram='32768' vram64='65536' vgamem='16384' heads='1' primary='yes'/>",
      ),
    }),
    hardware: [
      device("qxl-vga", {
        id: "video0",
        ...slot("0x2"),
        max_outputs: 1,
        ram_size: 67_108_864,
        vram_size: 33_554_432,
        vram64_size_mb: 64,
        vgamem_mb: 16,
      }),
    ],
  },
  {
    says: "a Bochs display",
    xml: bare({ devices: card("<model type='bochs' vram='16384' heads='1' primary='yes'/>") }),
    hardware: [device("bochs-display", { id: "video0", ...slot("0x2"), vgamem: 16_777_216 })],
  },
  {
    says: "input devices on USB, virtio and PS/2",
    xml: bare({
      devices: `<input type='tablet'/><input type='keyboard' bus='usb'><address type='usb' bus='0' port='1'/></input>
        <input type='mouse' bus='virtio'/><input type='tablet' bus='virtio'><address type='pci' slot='9'/><alias name='ua-t'/></input>
        <input type='keyboard' bus='virtio'/><input type='mouse' bus='ps2'/><input type='keyboard'/>`,
    }).replace(
      "<controller type='usb' model='none'/>",
      "<controller type='usb' index='0' model='piix3-uhci'/>",
    ),
    hardware: [
      device("piix3-usb-uhci", { id: "usb", bus: "pci.0", addr: "0x1.0x2" }),
      device("usb-tablet", { id: "input0", bus: "usb.0", port: "2" }),
      device("usb-kbd", { id: "input1", bus: "usb.0", port: "1" }),
      device("virtio-mouse-pci", { id: "input2", ...slot("0x2") }),
      device("virtio-tablet-pci", { id: "ua-t", ...slot("0x9") }),
      device("virtio-keyboard-pci", { id: "input4", ...slot("0x3") }),
    ],
  },
];
