import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { checkCompatibility } from "../../../../src/drivers/domain-xml/checks/compatibility.js";
import {
  gatherQemuFacts,
  type HostFacts,
  type PathFact,
  pathFacts,
} from "../../../../src/drivers/domain-xml/checks/host-facts.js";
import type { Move } from "../../../../src/drivers/domain-xml/checks/incompatibility.js";
import { parseDomain } from "../../../../src/drivers/domain-xml/domain.js";
import { systemClock } from "../../../../src/drivers/platform/clock.js";
import { bare, uuid } from "../../../support/domains.js";
import { cases } from "./cases/all.js";

const shared: PathFact = { kind: "file", storage: "shared" };
const local: PathFact = { kind: "file", storage: "local" };
const cluster: PathFact = { kind: "file", storage: "cluster" };

/** A host with the resources of a bare domain with a disk, and those that a test adds. */
function host({
  qemu = {},
  ...more
}: Partial<Omit<HostFacts, "qemu">> & { qemu?: Partial<HostFacts["qemu"]> } = {}) {
  return {
    hostname: "b",
    processor: "EPYC",
    guests: [],
    paths: {},
    ...more,
    qemu: {
      binary: "qemu-system-x86_64",
      version: "7.2.0",
      kvm: { works: true },
      machines: [{ name: "pc-i440fx-7.2", alias: "pc", maxCpus: 255 }],
      cpuModels: { tcg: [{ name: "qemu64", unavailable: [] }], kvm: [{ name: "qemu64", unavailable: [] }] },
      devices: ["virtio-blk-pci"],
      ...qemu,
    },
  } satisfies HostFacts;
}

const reasons = (xml: string, move: Omit<Move, "source">) =>
  checkCompatibility({ source: parseDomain(xml), ...move }).map(({ code, path, what, next }) => {
    expect(next).not.toBe("");
    return `${code} ${path}: ${what}`;
  });

const disk = (more = "", attributes = "type='file'", source = "file='/d'") =>
  bare({ devices: `<disk ${attributes}>${more}<source ${source}/><target dev='vda'/></disk>` });
const model = (name: string, more = "") =>
  bare({ more: `<cpu mode='custom' ${more}><model>${name}</model></cpu>` });
const lacking = (...unavailable: string[]) => ({
  cpuModels: { tcg: [{ name: "qemu64", unavailable }], kvm: [] },
});

describe("a guest cannot leave", () => {
  test.each<[string, string, Omit<Move, "source">, string[]]>([
    [
      "with a host device",
      bare({ devices: "<hostdev/>" }),
      {},
      ["host-device domain/devices/hostdev: <hostdev> is not supported"],
    ],
    [
      "with an unsupported element",
      bare({ devices: "<sound model='ich9'/>" }),
      {},
      ["unsupported domain/devices/sound: <sound> is not supported"],
    ],
    [
      "with a CPU whose clock must not change",
      bare({ more: "<cpu mode='maximum'><feature name='invtsc'/></cpu>" }),
      {},
      [
        "cpu-unmigratable domain/cpu/feature[1]: an invariant time stamp counter may run at another rate on the other host",
      ],
    ],
    [
      "with a CPU that its XML marks as not migratable",
      bare({ type: "kvm", more: "<cpu mode='host-passthrough' migratable='off'/>" }),
      {},
      ["cpu-unmigratable domain/cpu/@migratable: the CPU has features that cannot be migrated"],
    ],
    [
      "with a disk on a file system of its host",
      disk("<driver cache='none'/>"),
      { sourceHost: host({ paths: { "/d": local } }) },
      [
        "disk-local domain/devices/disk[1]/source/@file: /d is on a file system that only this host can reach",
      ],
    ],
    [
      "with a disk that its host caches",
      disk("<driver cache='writeback'/>"),
      { sourceHost: host({ paths: { "/d": shared } }) },
      [
        "disk-unsafe domain/devices/disk[1]/driver/@cache: this host caches the disk (writeback), and the other host would not see cached writes",
      ],
    ],
    [
      "with a disk that its host caches by default",
      disk(),
      {},
      [
        "disk-unsafe domain/devices/disk[1]: this host caches the disk (QEMU's default, writeback), and the other host would not see cached writes",
      ],
    ],
    [
      "with a block device that its host caches",
      disk("", "type='block'", "dev='/dev/d'"),
      {},
      [expect.stringContaining("disk-unsafe")],
    ],
  ])("%s", (_, xml, move, expected) => {
    expect(reasons(xml, move)).toEqual(expected);
  });

  test.each<[string, string, Omit<Move, "source">]>([
    ["is not cached", disk("<driver cache='none'/>"), { sourceHost: host({ paths: { "/d": shared } }) }],
    ["is written through to where all see it", disk("<driver cache='directsync'/>"), {}],
    ["is on a cluster's file system", disk(), { sourceHost: host({ paths: { "/d": cluster } }) }],
    ["is copied", disk(), { sourceHost: host({ paths: { "/d": local } }), copiedDisks: ["vda"] }],
    ["is only read", disk("<readonly/>"), { sourceHost: host({ paths: { "/d": local } }) }],
    ["is of several guests", disk("<shareable/>"), { sourceHost: host({ paths: { "/d": shared } }) }],
    [
      "stays on its host with the guest",
      disk(),
      { sourceHost: host({ paths: { "/d": local } }), sameHost: true },
    ],
  ])("but can with a disk that %s", (_, xml, move) => {
    expect(reasons(xml, move)).toEqual([]);
  });
});

describe("a guest cannot arrive", () => {
  const here = { sameHost: true } as const;
  test.each<[string, string, Omit<Move, "source">, string[]]>([
    [
      "where it already is",
      bare(),
      { destinationHost: host({ guests: [{ name: "guest", uuid }] }) },
      [`uuid-taken domain/uuid: a guest with the uuid ${uuid} already exists on b`],
    ],
    [
      "where another guest has its name",
      bare(),
      { destinationHost: host({ guests: [{ name: "guest", uuid: "1" }] }) },
      ["name-taken domain/name: the guest 1 already has that name on b"],
    ],
    [
      "where its machine type is not known",
      bare({ machine: "pc-i440fx-8.2" }),
      { destinationHost: host() },
      [
        "machine-unknown domain/os/type/@machine: QEMU 7.2.0 of b does not support the machine type pc-i440fx-8.2",
      ],
    ],
    [
      "where its machine type's alias means another one",
      bare(),
      {
        sourceHost: host({ hostname: "a" }),
        destinationHost: host({
          qemu: { machines: [{ name: "pc-i440fx-8.2", alias: "pc", maxCpus: 255 }] },
        }),
      },
      ["machine-differs domain/os/type/@machine: pc is pc-i440fx-7.2 on a, and pc-i440fx-8.2 on b"],
    ],
    [
      "on a machine with fewer CPUs",
      bare({ more: "<vcpu>256</vcpu>" }),
      { destinationHost: host() },
      ["too-many-cpus domain/vcpu: the guest has 256 CPUs; pc-i440fx-7.2 supports at most 255"],
    ],
    [
      "where there is no KVM",
      bare({ type: "kvm" }),
      { destinationHost: host({ qemu: { kvm: { works: false, why: "it is switched off" } } }) },
      ["no-kvm domain/@type: KVM is not usable on b: it is switched off"],
    ],
    [
      "where its CPU model is not known",
      model("Skylake-Client"),
      { destinationHost: host() },
      ["cpu-unknown domain/cpu/model: the QEMU of b does not support the CPU model Skylake-Client"],
    ],
    [
      "where its CPU model lacks a feature that it had",
      bare(),
      { sourceHost: host({ qemu: lacking("svm") }), destinationHost: host({ qemu: lacking("svm", "pni") }) },
      ["cpu-differs domain: b lacks the CPU features pni"],
    ],
    [
      "where its CPU model lacks a feature that it requires",
      model("qemu64", "check='full'"),
      { destinationHost: host({ qemu: lacking("pni") }) },
      ["cpu-differs domain/cpu/model: b lacks the CPU features pni"],
    ],
    [
      "where QEMU's maximum CPU model is different",
      bare({ more: "<cpu mode='maximum'/>" }),
      { sourceHost: host(), destinationHost: host({ qemu: { version: "8.2.0" } }) },
      [
        "cpu-differs domain/cpu/@mode: the CPU depends on the host: QEMU 7.2.0 at the source, QEMU 8.2.0 at the destination",
      ],
    ],
    [
      "where the host's processor is different",
      bare({ type: "kvm", more: "<cpu mode='host-passthrough'/>" }),
      { sourceHost: host(), destinationHost: host({ processor: "Xeon" }) },
      [
        "cpu-differs domain/cpu/@mode: the CPU depends on the host: EPYC at the source, Xeon at the destination",
      ],
    ],
    [
      "where a device is not known",
      bare({ devices: "<rng model='virtio'><backend model='builtin'/></rng>" }),
      { destinationHost: host() },
      ["device-unknown domain/devices/rng[1]: the QEMU of b does not support the device virtio-rng-pci"],
    ],
    [
      "where its files are missing",
      bare({
        os: "<loader type='rom'>/f</loader><kernel>/k</kernel>",
        devices: "<disk type='file'><source file='/d'/><target dev='vda'/></disk>",
      }),
      { destinationHost: host({ paths: { "/f": null, "/k": null, "/d": null } }), ...here },
      [
        "firmware-missing domain/os/loader: /f does not exist on b",
        "kernel-missing domain/os/kernel: /k does not exist on b",
        "disk-missing domain/devices/disk[1]/source/@file: /d does not exist on b",
      ],
    ],
    [
      "with an unsupported element in its new XML",
      bare(),
      { destination: parseDomain(bare({ devices: "<input type='tablet' bus='ps2'/>" })), ...here },
      [
        'guest-abi domain/devices/input[1]: it is absent at the source and "1" at the destination',
        "unsupported domain/devices/input[1]/@bus: a tablet on PS/2 is not supported",
      ],
    ],
  ])("%s", (_, xml, move, expected) => {
    expect(reasons(xml, move)).toEqual(expected);
  });

  test.each<[string, string, Omit<Move, "source">]>([
    [
      "where the machine type's alias and its name mean the same",
      bare(),
      {
        sourceHost: host(),
        destinationHost: host(),
        destination: parseDomain(bare({ machine: "pc-i440fx-7.2" })),
      },
    ],
    [
      "without the disk that is copied during the migration",
      disk(),
      { destinationHost: host({ paths: { "/d": null } }), copiedDisks: ["vda"] },
    ],
    ["where its files have not been looked for", disk(), { destinationHost: host(), ...here }],
    [
      "where the CPU lacks a feature that its XML disables",
      bare({
        more: "<cpu mode='custom' check='full'><model>qemu64</model><feature policy='disable' name='pni'/></cpu>",
      }),
      { destinationHost: host({ qemu: lacking("pni") }) },
    ],
  ])("but can %s", (_, xml, move) => {
    expect(reasons(xml, move)).toEqual([]);
  });

  test("or leave, with every reason reported", () => {
    const xml = bare({
      machine: "pc-i440fx-9.0",
      devices: "<disk type='file'><source file='/d'/><target dev='vda'/></disk><hostdev/>",
    });
    const sourceHost = host({ hostname: "a", paths: { "/d": local } });
    const destinationHost = host({
      paths: { "/d": null },
      guests: [{ name: "guest", uuid }],
      qemu: { devices: [] },
    });
    const codes = checkCompatibility({ source: parseDomain(xml), sourceHost, destinationHost }).map(
      (incompatibility) => incompatibility.code,
    );
    expect(codes).toEqual([
      "host-device",
      "disk-local",
      "uuid-taken",
      "machine-unknown",
      "device-unknown",
      "disk-missing",
    ]);
  });
});

describe("a real host", () => {
  test("reports its QEMU's capabilities, whether KVM works, and its files", async () => {
    const directory = mkdtempSync(join(tmpdir(), "facts-"));
    const [there, absent] = [join(directory, "there"), join(directory, "absent")];
    try {
      writeFileSync(there, "");
      const paths = await pathFacts([there, absent]);
      expect(paths).toEqual({ [there]: local, [absent]: null });
      const qemu = await gatherQemuFacts("qemu-system-x86_64", { clock: systemClock });
      const facts: HostFacts = { hostname: "here", processor: "", qemu, guests: [], paths };
      expect(qemu.version).toMatch(/^\d+\.\d+\.\d+$/);
      const aliases = qemu.machines
        .filter((machine) => machine.alias !== undefined)
        .map((machine) => machine.alias);
      expect(aliases).toEqual(expect.arrayContaining(["pc", "q35"]));
      expect(qemu.cpuModels.tcg.find((modelFact) => modelFact.name === "host")?.unavailable).toEqual(["kvm"]);
      if (!qemu.kvm.works) expect(qemu.kvm.why).not.toBe("");
      for (const { xml } of cases.filter((case_) => case_.needs !== "kvm")) {
        const found = reasons(xml, { sourceHost: facts, destinationHost: facts, sameHost: true });
        expect(found).toEqual([]);
      }
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test("without that QEMU reports so", async () => {
    const asked = gatherQemuFacts("qemu-system-none", { clock: systemClock });
    await expect(asked).rejects.toThrow("qemu-system-none cannot be run");
  });
});
