import { readFileSync } from "node:fs";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as z from "zod/mini";
import { bare, domainXml, refusalsOf, uuid } from "../../../support/domains.js";
import { plausible } from "../../../support/plausible.js";
import { qemusOf } from "../../../support/qemus-of.js";
import {
  type Ask,
  asking,
  type Images,
  makeImages,
  mebibyte,
  qemuOf,
} from "../../../support/real-domains.js";
import { cases } from "./cases/all.js";

let images: Images;
beforeAll(async () => {
  images = await makeImages();
});
afterAll(() => images.remove());

const ask = <T>(xml: string, questions: (ask: Ask) => Promise<T>) =>
  asking(qemuOf(images.in(xml), images.directory), questions);

const device = z.looseObject({
  qdev_id: z.string(),
  slot: z.number(),
  function: z.number(),
  bus: z.number(),
});
type PciDevice = z.infer<typeof device> & { pci_bridge?: { devices?: PciDevice[] } };
const buses = z.array(z.looseObject({ devices: z.array(device) }));

/** The PCI address of each device with an id, bus:slot.function, also below bridges. */
async function pciPlaces(ask: Ask): Promise<Record<string, string>> {
  const below = (pciDevice: PciDevice): PciDevice[] => [
    pciDevice,
    ...(pciDevice.pci_bridge?.devices ?? []).flatMap(below),
  ];
  const devices = (await ask(buses, "query-pci"))
    .flatMap((item) => item.devices as PciDevice[])
    .flatMap(below);
  return Object.fromEntries(
    devices
      .filter((candidate) => candidate.qdev_id !== "")
      .map((item) => [item.qdev_id, `${item.bus}:${item.slot}.${item.function}`]),
  );
}

const property = async (ask: Ask, path: string, name: string) =>
  ask(z.unknown(), "qom-get", { path, property: name });

describe("a real QEMU", () => {
  test.each(cases.filter((case_) => case_.needs === undefined))("starts with $says", async ({ xml }) => {
    await ask(xml, async (query) => {
      expect(await query(z.looseObject({ running: z.boolean() }), "query-status")).toMatchObject({
        running: false,
      });
    });
  });

  test("has the disks of the XML, under the names that storage migration uses", async () => {
    const xml = bare({
      devices: `<controller type='scsi' model='virtio-scsi'/>
        <disk type='file'><driver type='qcow2' cache='none' discard='unmap' detect_zeroes='unmap'/><source file='/img/qcow2'/><target dev='vda'/><serial>S1</serial></disk>
        <disk type='file'><source file='/img/raw'/><target dev='sda'/><readonly/></disk>
        <disk type='file' device='cdrom'><source file='/img/iso'/><target dev='hda'/></disk>
        <disk type='file' device='cdrom'><target dev='sdb' bus='sata'/></disk>`,
    });
    await ask(xml, async (query) => {
      const node = z.looseObject({
        "node-name": z.string(),
        drv: z.string(),
        ro: z.boolean(),
        detect_zeroes: z.string(),
        cache: z.looseObject({ direct: z.boolean(), "no-flush": z.boolean(), writeback: z.boolean() }),
        image: z.looseObject({ filename: z.string(), "virtual-size": z.number() }),
      });
      const nodes = await query(z.array(node), "query-named-block-nodes", { flat: true });
      expect(Object.fromEntries(nodes.map((item) => [item["node-name"], item.drv]))).toEqual({
        "vda-storage": "file",
        "vda-format": "qcow2",
        "sda-storage": "file",
        "sda-format": "raw",
        "hda-storage": "file",
        "hda-format": "raw",
      });
      expect(nodes.find((candidate) => candidate["node-name"] === "vda-format")).toMatchObject({
        ro: false,
        detect_zeroes: "unmap",
        cache: { direct: true, "no-flush": false },
        image: { filename: `${images.directory}/qcow2`, "virtual-size": mebibyte },
      });
      for (const name of ["sda-format", "hda-format"]) {
        expect(nodes.find((candidate) => candidate["node-name"] === name)?.ro).toBe(true);
      }
      const drive = z.looseObject({
        qdev: z.string(),
        removable: z.boolean(),
        inserted: z.optional(z.looseObject({ "node-name": z.string() })),
      });
      const drives = await query(z.array(drive), "query-block");
      expect(drives.map((item) => [item.qdev, item.removable, item.inserted?.["node-name"]])).toEqual([
        [expect.stringContaining("virtio-disk0"), false, "vda-format"],
        ["scsi0-0-0-0", false, "sda-format"],
        ["ide0-0-0", true, "hda-format"],
        ["sata0-0-1", true, undefined],
      ]);
      expect(await property(query, "/machine/peripheral/virtio-disk0", "serial")).toBe("S1");
      expect(await pciPlaces(query)).toEqual({ scsi0: "0:2.0", sata0: "0:3.0", "virtio-disk0": "0:4.0" });
    });
  });

  test("shows a write cache, or none, according to the cache mode", async () => {
    const seen = async (mode: string) => {
      const disk = `<disk type='file'><driver cache='${mode}'/><source file='/img/raw'/><target dev='vda'/></disk>`;
      return ask(bare({ devices: disk }), (query) =>
        property(query, "/machine/peripheral/virtio-disk0", "write-cache"),
      );
    };
    for (const cache of ["none", "writeback", "unsafe"]) expect(await seen(cache)).toBe("on");
    for (const cache of ["writethrough", "directsync"]) expect(await seen(cache)).toBe("off");
  });

  test("has the memory, the CPUs, their model and features, and the machine of the XML", async () => {
    const xml = bare({
      machine: "q35",
      more: `<vcpu>4</vcpu><cpu mode='custom'><model>Nehalem</model><topology sockets='2' dies='1' cores='1' threads='2'/>
        <feature policy='require' name='3dnow'/><feature policy='disable' name='sse4.2'/></cpu>`,
    });
    await ask(xml, async (query) => {
      expect(await query(z.unknown(), "query-memory-size-summary")).toMatchObject({
        "base-memory": 65_544 * 1024,
      });
      const cpu = z.looseObject({
        "qom-path": z.string(),
        props: z.looseObject({ "socket-id": z.number(), "thread-id": z.number() }),
      });
      const cpus = await query(z.array(cpu), "query-cpus-fast");
      expect(cpus.map((item) => `${item.props["socket-id"]}.${item.props["thread-id"]}`)).toEqual([
        "0.0",
        "0.1",
        "1.0",
        "1.1",
      ]);
      const [first] = cpus;
      const of = (name: string) => property(query, first?.["qom-path"] ?? "", name);
      expect(await of("type")).toBe("Nehalem-x86_64-cpu");
      expect(await of("3dnow")).toBe(true);
      expect(await of("sse4.2")).toBe(false);
      expect(await property(query, "/machine", "type")).toBe("pc-q35-7.2-machine");
      expect(await property(query, "/machine", "acpi")).toBe("auto");
    });
  });

  test("does not start without a feature that check='full' demands and the host lacks", async () => {
    const cpu = (check: string) =>
      bare({ more: `<cpu mode='custom' check='${check}'><model>qemu64</model><feature name='pcid'/></cpu>` });
    await expect(ask(cpu("full"), async () => {})).rejects.toThrow(/pcid/);
    await expect(ask(cpu("none"), async () => "started")).resolves.toBe("started");
  });

  test("has the cards, ports, channels and other devices of the XML at their addresses", async () => {
    const xml = domainXml({
      devices: `<interface type='user'><mac address='52:54:00:12:34:56'/><model type='virtio'/></interface>
        <interface type='user'><model type='e1000'/><address type='pci' slot='0x11'/></interface>
        <serial type='null'/><serial type='file'><source path='/img/serial'/></serial>
        <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
        <input type='tablet' bus='usb'/><input type='keyboard' bus='virtio'/>
        <graphics type='vnc' socket='/img/vnc'/><video><model type='virtio' heads='2'/></video>
        <rng model='virtio'><rate bytes='1000' period='2000'/><backend model='random'>/dev/urandom</backend></rng>`,
    });
    await ask(xml, async (query) => {
      const peripheral = z.array(z.looseObject({ name: z.string(), type: z.string() }));
      const children = await query(peripheral, "qom-list", { path: "/machine/peripheral" });
      const kinds = Object.fromEntries(
        children.filter(({ type }) => type !== "string").map(({ name, type }) => [name, type]),
      );
      expect(kinds).toEqual({
        usb: "child<piix3-usb-uhci>",
        "virtio-serial0": "child<virtio-serial-pci>",
        net0: "child<virtio-net-pci>",
        net1: "child<e1000>",
        serial0: "child<isa-serial>",
        serial1: "child<isa-serial>",
        channel0: "child<virtserialport>",
        input0: "child<usb-tablet>",
        input1: "child<virtio-keyboard-pci>",
        video0: "child<virtio-vga>",
        balloon0: "child<virtio-balloon-pci>",
        rng0: "child<virtio-rng-pci>",
      });
      expect(await pciPlaces(query)).toEqual({
        usb: "0:1.2",
        video0: "0:2.0",
        net0: "0:3.0",
        net1: "0:17.0",
        "virtio-serial0": "0:4.0",
        balloon0: "0:5.0",
        rng0: "0:6.0",
        input1: "0:7.0",
      });
      const at = (id: string, name: string) => property(query, `/machine/peripheral/${id}`, name);
      expect(await at("net0", "mac")).toBe("52:54:00:12:34:56");
      expect(await at("video0", "max_outputs")).toBe(2);
      expect(await at("rng0", "max-bytes")).toBe(1000);
      expect(await at("channel0", "name")).toBe("org.qemu.guest_agent.0");
      const ports = await query(
        z.array(z.looseObject({ label: z.string(), filename: z.string() })),
        "query-chardev",
      );
      const files = Object.fromEntries(ports.map(({ label, filename }) => [label, filename]));
      expect(files).toMatchObject({ charserial0: "null", charserial1: "file" });
      expect(files["charchannel0"]).toContain(`${images.directory}/org.qemu.guest_agent.0`);
      expect(await query(z.unknown(), "query-vnc")).toMatchObject({
        enabled: true,
        service: `${images.directory}/vnc`,
      });
    });
  });

  test("finds a free port for VNC, and uses the one that is named", async () => {
    const display = (more: string) =>
      bare({ devices: `<graphics type='vnc' ${more}/><video><model type='none'/></video>` });
    const vnc = z.looseObject({ enabled: z.boolean(), host: z.string(), service: z.string() });
    const { host, service } = await ask(display("autoport='yes'"), (query) => query(vnc, "query-vnc"));
    expect(host).toBe("127.0.0.1");
    expect(Number(service)).toBeGreaterThanOrEqual(5900);
    expect(await ask(display("port='5987'"), (query) => query(vnc, "query-vnc"))).toMatchObject({
      service: "5987",
    });
  });

  test("has its devices behind bridges and ports, as libvirt lays them out on a q35", async () => {
    const find = cases.find((case_) => case_.says.startsWith("PCI Express ports"));
    await ask(find?.xml ?? "", async (query) => {
      // Before the firmware has run, QEMU's PCI tree ends at the first bridge.
      expect(await pciPlaces(query)).toMatchObject({ "pci.1": "0:2.0", "pci.2": "0:2.1", "pci.4": "0:1.0" });
      const bus = async (id: string) => property(query, `/machine/peripheral/${id}`, "parent_bus");
      expect(await bus("net0")).toBe("/machine/peripheral/pci.2/pci.2");
      expect(await bus("pci.3")).toBe("/machine/peripheral/pci.1/pci.1");
      expect(await bus("net1")).toBe("/machine/peripheral/pci.3/pci.3");
    });
  });

  test("has the name, including commas, and the environment of the XML", async () => {
    const own = "5d2c7a55-3a5f-4f0e-8a6e-6d1f5c9a7b10";
    const xml = bare({
      more: "<qemu:commandline><qemu:env name='SWITCHOVER_A' value='b, c'/></qemu:commandline>",
    });
    await ask(xml.replace(uuid, own).replace(">guest<", ">a,debug-threads=on<"), async (query) => {
      expect(await query(z.unknown(), "query-name")).toEqual({ name: "a,debug-threads=on" });
      const environments = qemusOf(own).map((pid) =>
        readFileSync(`/proc/${pid}/environ`, "utf8").split("\0"),
      );
      expect(environments).toEqual([expect.arrayContaining(["SWITCHOVER_A=b, c"])]);
    });
  });

  test("has a disk that another QEMU exports over NBD", async () => {
    const socket = `${images.directory}/nbd`;
    const server = bare({
      devices: "<disk type='file'><source file='/img/raw2'/><target dev='vda'/><shareable/></disk>",
    });
    const client = bare({
      devices: `<disk type='network'><driver cache='none'/><source protocol='nbd' name='a,b'><host transport='unix' socket='/img/nbd'/></source><target dev='vda'/></disk>`,
    });
    await ask(server, async (port) => {
      await port(z.unknown(), "nbd-server-start", { addr: { type: "unix", data: { path: socket } } });
      const disk = { type: "nbd", id: "a", "node-name": "vda-format", name: "a,b", writable: true };
      await port(z.unknown(), "block-export-add", disk);
      const image = z.looseObject({ image: z.looseObject({ "virtual-size": z.number() }) });
      const [first] = await ask(client, (its) =>
        its(z.array(image), "query-named-block-nodes", { flat: true }),
      );
      expect(first?.image["virtual-size"]).toBe(mebibyte);
    });
  });

  test("starts every domain that is not refused", async () => {
    let started = 0;
    await fc.assert(
      fc.asyncProperty(plausible, async (xml) => {
        if (refusalsOf(images.in(xml), false).length > 0) return;
        started++;
        await ask(xml, async () => {});
      }),
      { numRuns: Number(process.env["SWITCHOVER_RUNS"] ?? 200) },
    );
    expect(started).toBeGreaterThan(5);
  });
});
