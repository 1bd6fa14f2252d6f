// Firmware, direct kernel boot, and the boot order of devices.

import { disksInOrder } from "../schema/derived-properties.js";
import type { DomainModel } from "../schema/domain.js";
import type { CommandLine } from "./command-line.js";

export function addBoot(line: CommandLine, { os }: DomainModel): void {
  const { bootmenu, bios, kernel, initrd, cmdline } = os;
  line.hardware(
    "-boot",
    [
      ...(bootmenu === undefined ? [] : [`menu=${bootmenu.enable ? "on" : "off"}`]),
      ...(bootmenu?.timeout === undefined ? [] : [`splash-time=${bootmenu.timeout}`]),
      ...(bios === undefined ? [] : [`reboot-timeout=${bios.rebootTimeout}`]),
      "strict=on",
    ].join(","),
  );
  addFirmware(line, os);
  for (const [option, image] of [
    ["-kernel", kernel],
    ["-initrd", initrd],
  ] as const) {
    if (image === undefined) continue;
    line.host(option, image.text);
    line.needs({ path: image.text, kind: "kernel", in: image, key: "text" });
  }
  if (cmdline !== undefined) line.hardware("-append", cmdline.text);
  if (kernel === undefined) {
    for (const part of [initrd, cmdline]) {
      if (part !== undefined)
        line.conflict(part, undefined, "it requires a <kernel>", "add <kernel>, or remove it");
    }
  }
}

function addFirmware(line: CommandLine, { loader, nvram }: DomainModel["os"]): void {
  if (loader?.type === "rom") line.host("-bios", loader.text);
  if (loader?.type === "pflash") addFlash(line, "pflash0", loader.text, true);
  if (nvram !== undefined) addFlash(line, "pflash1", nvram.text, false);
  if (nvram !== undefined && loader?.type !== "pflash") {
    line.conflict(nvram, undefined, "it requires a firmware in flash", 'add <loader type="pflash">');
  }
  if (loader?.readonly === false) {
    line.unsupported(
      loader,
      "readonly",
      "a writable loader is not supported",
      'use readonly="yes" and <nvram>',
    );
  }
  for (const part of [loader, nvram]) {
    if (part !== undefined) line.needs({ path: part.text, kind: "firmware", in: part, key: "text" });
  }
}

function addFlash(line: CommandLine, name: string, filename: string, readOnly: boolean): void {
  const storage = `${name}-storage`;
  const common = { "auto-read-only": true, discard: "unmap" };
  line.blockNode({ driver: "file", filename, "node-name": storage, ...common });
  line.blockNode({ "node-name": `${name}-format`, "read-only": readOnly, driver: "raw", file: storage });
}

/** Returns the boot index of each bootable device; refuses an order that is not valid. */
export function bootOrder(line: CommandLine, { os, devices }: DomainModel): ReadonlyMap<object, number> {
  const own = [...devices.disks, ...devices.interfaces].flatMap((disk) =>
    disk.boot === undefined ? [] : [{ device: disk, boot: disk.boot }],
  );
  const order = new Map<object, number>();
  for (const { device, boot } of own) {
    if ([...order.values()].includes(boot.order)) {
      line.conflict(
        boot,
        "order",
        `another device already has the order ${boot.order}`,
        "give each device its own number",
      );
    }
    order.set(device, boot.order);
  }
  const [kind] = os.boots;
  if (own.length > 0) {
    const next = "remove these elements, or the devices' own <boot order>";
    if (kind !== undefined) line.conflict(kind, undefined, "devices have their own <boot order>", next);
    return order;
  }
  const disks = disksInOrder(devices.disks);
  const first = {
    hd: disks.find((disk) => disk.device === "disk"),
    cdrom: disks.find((disk) => disk.device === "cdrom"),
    network: devices.interfaces[0],
  };
  const kinds = os.boots.length === 0 ? (["hd"] as const) : os.boots.map((boot) => boot.dev);
  for (const [index, target] of kinds.entries()) {
    const device = first[target];
    if (device !== undefined && !order.has(device)) order.set(device, index + 1);
  }
  return order;
}
