import { readFileSync } from "node:fs";
import { DOMImplementation } from "@xmldom/xmldom";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseDomain } from "../../../../src/drivers/domain-xml/domain.js";
import { buildQemu } from "../../../../src/drivers/domain-xml/qemu-args/build.js";
import { domain } from "../../../../src/drivers/domain-xml/schema/domain.js";
import { DomainXmlError } from "../../../../src/drivers/domain-xml/xml/errors.js";
import { parseXml, printXml } from "../../../../src/drivers/domain-xml/xml/parse.js";
import { readElement } from "../../../../src/drivers/domain-xml/xml/read.js";
import { writeElement } from "../../../../src/drivers/domain-xml/xml/write.js";
import { modelOf } from "../../../support/arbitrary-domains.js";
import { bare, build, domainXml, noKvm, parsed, refusalsOf, uuid, words } from "../../../support/domains.js";
import { structureOf, xmlTree } from "../../../support/trees.js";

const attributeOf = (xml: string, pattern: RegExp) => pattern.exec(xml)?.[1];

describe("a domain", () => {
  test("is read back as the model that it was printed from", () => {
    fc.assert(
      fc.property(modelOf(domain), (model) => {
        const document = new DOMImplementation().createDocument(null, "");
        const text = printXml(writeElement(domain, model, "domain", document));
        const refused: unknown[] = [];
        const read = readElement(domain, parseXml(text), "domain", (refusal) => refused.push(refusal));
        expect(refused).toEqual([]);
        expect(read).toEqual(model);
      }),
      { numRuns: 300 },
    );
  });

  test("keeps everything in its XML, known or not", () => {
    const names = `<name>guest</name><uuid>${uuid}</uuid>`;
    fc.assert(
      fc.property(fc.array(xmlTree, { maxLength: 4 }), (trees) => {
        const xml = `<domain type="qemu">${names}<metadata>${trees.join("")}</metadata>${trees.join("\n")}</domain>`;
        const kept = parsed(xml).xml;
        expect(structureOf(parseXml(kept))).toEqual(structureOf(parseXml(xml)));
        expect(parsed(kept).xml).toBe(kept);
      }),
    );
  });

  test("without a uuid gets one, and keeps it", () => {
    const xml = domainXml().replace(/ *<uuid>.*\n/, "");
    const first = parseDomain(xml, { ids: { next: () => uuid } });
    expect(first.uuid).toBe(uuid);
    expect(first.xml).toContain(`<name>guest</name>\n  <uuid>${uuid}</uuid>\n  <memory`);
    expect(parsed(first.xml).uuid).toBe(uuid);
  });

  test("has its uuid in small letters, however it was written", () => {
    const written = uuid.toUpperCase().replaceAll("-", "");
    expect(parsed(domainXml().replace(uuid, written)).uuid).toBe(uuid);
  });

  test("gets what libvirt would add: a USB controller, a balloon, MAC addresses, a place for each device", () => {
    const { xml, refusals } = parsed(
      domainXml({
        devices: `<interface type='user'/><interface type='user'/>
    <disk type='file'><source file='/a'/><target dev='sdh' bus='scsi'/></disk>
    <console type='pty'/>
    <graphics type='vnc'/>
    <channel type='unix'><source path='/c'/><target type='virtio' name='a.0'/></channel>`,
      }),
    );
    expect(refusals).toEqual([]);
    for (const text of [
      '<controller type="usb" index="0" model="piix3-uhci">',
      '<controller type="scsi" index="1" model="lsilogic">',
      '<controller type="virtio-serial" index="0">',
      '<memballoon model="virtio">',
      '<model type="rtl8139"/>',
      '<serial type="pty"/>',
      '<model type="cirrus"/>',
      '<address type="drive" controller="1" bus="0" target="0" unit="0"/>',
      '<address type="virtio-serial" controller="0" bus="0" port="1"/>',
      '<address type="pci" domain="0x0000" bus="0x00" slot="0x02" function="0x0"/>',
    ]) {
      expect(xml).toContain(text);
    }
    const macs = [...xml.matchAll(/<mac address="(52:54:00:[\da-f:]{8})"\/>/g)].map((match) => match[1]);
    expect(new Set(macs).size).toBe(2);
  });

  test("that is complete is not changed, and has the same hardware", () => {
    const { xml } = parsed(domainXml({ devices: "<interface type='user'/><graphics type='vnc'/>" }));
    const again = parsed(xml);
    expect(again.xml).toBe(xml);
    expect(buildQemu(again, { kvm: noKvm })).toEqual(
      buildQemu(parsed(domainXml({ devices: "<interface type='user'/><graphics type='vnc'/>" })), {
        kvm: noKvm,
      }),
    );
  });

  test("gets its devices at the addresses that libvirt 9.0 assigns", () => {
    const given = domainXml({
      machine: "pc-i440fx-7.2",
      more: "<features><acpi/></features>",
      devices: `<disk type='file'><driver name='qemu' type='qcow2' cache='none'/><source file='/img/a.qcow2'/><target dev='vda'/></disk>
        <disk type='file'><source file='/img/b'/><target dev='sdb' bus='sata'/></disk>
        <disk type='file' device='cdrom'><target dev='hda'/></disk>
        <interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>
        <serial type='pty'/><console type='pty'/><graphics type='vnc'/><input type='tablet' bus='usb'/>
        <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
        <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>`,
    });
    // The result of its virsh define.
    const completed = readFileSync(new URL("libvirt-9.0.xml", import.meta.url), "utf8");
    const devicesOf = (xml: string) =>
      words(build(xml, false).spec.args).filter((word) => word.startsWith("-device"));
    expect(devicesOf(given).length).toBeGreaterThan(10);
    expect(devicesOf(given).toSorted()).toEqual(devicesOf(completed).toSorted());
    expect(structureOf(parseXml(parsed(completed).xml))).toEqual(structureOf(parseXml(completed)));
  });

  test("is kept unchanged when it cannot be started", () => {
    const xml = domainXml({ devices: "<sound model='ich9'/>" });
    const { xml: kept, refusals, name } = parsed(xml);
    expect(structureOf(parseXml(kept))).toEqual(structureOf(parseXml(xml)));
    expect(name).toBe("guest");
    expect(refusals).toMatchObject([{ code: "unsupported", path: "domain/devices/sound", line: 8 }]);
  });

  test.each([
    ["has no name", domainXml().replace(/<name>.*<\/name>/, ""), "domain/name", "missing"],
    ["has an empty name", domainXml().replace(">guest<", "><"), "domain/name", "bad-value"],
    ["has a name that is a path", domainXml().replace(">guest<", ">../guest<"), "domain/name", "bad-value"],
    ["has a uuid that is none", domainXml().replace(uuid, "1-2"), "domain/uuid", "bad-value"],
    ["has two names", domainXml().replace("<name>", "<name>other</name><name>"), "domain/name", "repeated"],
    ["is no domain", "<network/>", "", "malformed"],
    ["is in a namespace", "<domain xmlns='urn:x'/>", "", "malformed"],
  ])("that %s is no domain", (_, xml, path, code) => {
    let error: unknown;
    try {
      parsed(xml);
    } catch (reason) {
      error = reason;
    }
    expect(error).toBeInstanceOf(DomainXmlError);
    expect(error).toMatchObject({ refusals: [{ path, code }] });
  });

  test("without memory is kept without a model", () => {
    const { model, refusals } = parsed(domainXml().replace(/<memory.*<\/memory>/, ""));
    expect(model).toBeUndefined();
    expect(refusals).toMatchObject([{ code: "missing", path: "domain/memory" }]);
  });

  test("has all its faults reported at once, each with its place, in document order", () => {
    const xml = bare({
      os: "<boot dev='fd'/>",
      devices: `
      <disk type='file'><driver cache='wild'/><source file='relative'/><target dev='vda'/></disk>
      <hostdev mode='subsystem' type='pci'/>
      <interface type='network'><source network='default'/></interface>
      <video><model type='vga' accel3d='yes'/></video>`,
    });
    expect(
      refusalsOf(xml).map((refusal) => `${refusal.line} ${refusal.path}: ${refusal.what}; ${refusal.next}`),
    ).toEqual([
      '5 domain/os/boot[1]/@dev: "fd" is not a valid value; give hd | cdrom | network',
      '9 domain/devices/disk[1]/driver/@cache: "wild" is not a valid value; give none | writeback | writethrough | directsync | unsafe',
      '9 domain/devices/disk[1]/source/@file: "relative" is not a valid value; give an absolute path',
      "10 domain/devices/hostdev: <hostdev> is not supported; remove it: it ties the guest to this host",
      '11 domain/devices/interface[1]/@type: "network" is not supported; give one of user, ethernet, bridge',
      "12 domain/devices/video[1]/model/@accel3d: the attribute accel3d is not supported; remove it; docs/domain.md lists what is supported",
    ]);
    const column = attributeOf(xml.split("\n")[8] ?? "", /^(.*cache=)/)?.length;
    expect(refusalsOf(xml)[1]?.column).toBe((column ?? 0) + 1);
  });
});
