// Domains that an operator could plausibly write, valid and invalid: for the property that a domain which is not refused starts.

import fc from "fast-check";
import { domainXml } from "./domains.js";

const letters = ["a", "b", "c", "h"];
const prefixes = ["vd", "sd", "hd"];
/** Each disk has its own file below /img. */
export const plausibleFiles = prefixes.flatMap((prefix) => letters.map((letter) => prefix + letter));
const maybe = (arbitrary: fc.Arbitrary<string>) => fc.oneof(fc.constant(""), arbitrary);
const join = (...parts: fc.Arbitrary<string>[]) => fc.tuple(...parts).map((items) => items.join(""));
const oneOf = fc.constantFrom<string[]>;

const slot = fc.integer({ min: 0, max: 8 }).map((value) => `<address type='pci' slot='${value}'/>`);
const drive = fc
  .tuple(fc.integer({ min: 0, max: 1 }), fc.integer({ min: 0, max: 7 }))
  .map(([controller, unit]) => `<address type='drive' controller='${controller}' unit='${unit}'/>`);

const driver = fc
  .record({
    cache: oneOf("none", "writeback", "writethrough", "directsync", "unsafe"),
    io: oneOf("", "native", "threads"),
    discard: oneOf("unmap", "ignore"),
    detect_zeroes: oneOf("off", "on", "unmap"),
    error_policy: oneOf("", "stop", "report", "ignore", "enospace"),
  })
  .map((all) => {
    const given = Object.entries(all).filter(([, it]) => it !== "");
    return `<driver type='raw' ${given.map(([name, it]) => `${name}='${it}'`).join(" ")}/>`;
  });
const disk = fc
  .tuple(
    fc.constantFrom(...prefixes),
    fc.constantFrom(...letters),
    oneOf("", "", "", "bus='sata'", "bus='scsi'", "bus='virtio'"),
    oneOf("disk", "disk", "cdrom"),
    maybe(driver),
    oneOf("", "<readonly/>", "<shareable/>", "<serial>0123456789</serial>", "<boot order='2'/>"),
    fc.oneof({ weight: 3, arbitrary: fc.constant("") }, slot, drive),
  )
  .map(
    ([prefix, letter, bus, device, settings, more, address]) =>
      `<disk type='file' device='${device}'>${settings}<source file='/img/${prefix}${letter}'/><target dev='${prefix}${letter}' ${bus}/>${more}${address}</disk>`,
  );
const card = join(
  oneOf("<interface type='user'>"),
  maybe(oneOf("virtio", "e1000", "e1000e", "rtl8139").map((text) => `<model type='${text}'/>`)),
  maybe(oneOf("<boot order='1'/>")),
  maybe(slot),
  oneOf("</interface>"),
);
const controller = fc
  .tuple(
    oneOf(
      "type='usb' model='qemu-xhci' ports='8'",
      "type='usb' index='1' model='ehci'",
      "type='scsi' model='virtio-scsi'",
      "type='scsi' index='1'",
      "type='sata' index='1'",
      "type='virtio-serial' ports='4'",
      "type='pci' index='1' model='pci-bridge'",
      "type='pci' index='1' model='pcie-root-port'",
      "type='ide'",
    ),
    maybe(slot),
  )
  .map(([it, address]) => `<controller ${it}>${address}</controller>`);
const character = oneOf(
  "<serial type='null'/>",
  "<console type='null'/>",
  "<console type='null'><target type='virtio'/></console>",
  "<channel type='null'><target type='virtio' name='a'/></channel>",
);
const display = join(
  maybe(oneOf("<graphics type='vnc'><listen type='none'/></graphics>")),
  maybe(
    oneOf("vga' vram='8192", "cirrus", "virtio' heads='2", "qxl", "bochs", "none").map(
      (text) => `<video><model type='${text}'/></video>`,
    ),
  ),
);
const input = fc
  .tuple(oneOf("tablet", "mouse", "keyboard"), oneOf("usb", "virtio", "ps2"))
  .map(([type, bus]) => `<input type='${type}' bus='${bus}'/>`);
const rng = oneOf("<rng model='virtio'><backend model='builtin'/></rng>");

const some = (arbitrary: fc.Arbitrary<string>, maxLength: number) =>
  fc.array(arbitrary, { maxLength }).map((all) => all.join(""));

export const plausible: fc.Arbitrary<string> = fc
  .record({
    machine: oneOf("pc", "q35"),
    devices: join(
      some(disk, 4),
      some(controller, 2),
      some(card, 3),
      some(character, 3),
      display,
      some(input, 3),
      some(rng, 1),
    ),
    more: join(
      oneOf("<vcpu>2</vcpu>", "<vcpu>1</vcpu>"),
      oneOf("", "<features><acpi/><smm state='off'/></features>"),
      oneOf("", "<cpu mode='maximum'/>", "<cpu mode='custom'><model>qemu64</model></cpu>"),
      oneOf("", "<clock offset='utc'><timer name='hpet' present='no'/></clock>"),
    ),
  })
  .map(domainXml);
