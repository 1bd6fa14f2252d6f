// Gathers the facts of a host that a migration to it depends on: the machines, CPU models and devices that its QEMU reports,
// KVM, the existing guests, and the files that the guest needs.

import { randomUUID } from "node:crypto";
import { open, stat, statfs } from "node:fs/promises";
import type { Clock } from "../../../effects/ports.js";
import { messageOf } from "../../../protocol/effect-result.js";
import type { Monitor } from "../../qemu/monitor/commands.js";
import { endProcess } from "../../qemu/process/end-process.js";
import { QemuProcess } from "../../qemu/process/process.js";
import type { Hosting } from "../../qemu/process/spec.js";
import type { Kvm } from "../qemu-args/machine.js";

/** A CPU model that a QEMU supports, and the model's features that are not available on this host. */
export interface CpuModelFact {
  readonly name: string;
  readonly unavailable: readonly string[];
}

export interface QemuFacts {
  readonly binary: string;
  readonly version: string;
  readonly kvm: Kvm;
  readonly machines: readonly { name: string; alias: string | undefined; maxCpus: number }[];
  /** CPU models per accelerator; with KVM, as limited by this host's processor. */
  readonly cpuModels: { readonly tcg: readonly CpuModelFact[]; readonly kvm: readonly CpuModelFact[] };
  /** Every device that `-device` accepts. */
  readonly devices: readonly string[];
}

/** `shared`: another host may mount it too. `cluster`: every host sees each write at once, whatever is cached. */
export type Storage = "local" | "shared" | "cluster";

/** Null when nothing exists at that path, or the path cannot be reached. */
export type PathFact = { readonly kind: "file" | "block" | "other"; readonly storage: Storage } | null;

export interface HostFacts {
  readonly hostname: string;
  /** Name of the processor as the system reports it; it identifies a host-passthrough CPU. */
  readonly processor: string;
  readonly qemu: QemuFacts;
  /** Guests on this host, running or defined. */
  readonly guests: readonly { readonly name: string; readonly uuid: string }[];
  readonly paths: Readonly<Record<string, PathFact>>;
}

export interface FactsOptions {
  readonly clock: Clock;
  /** Run directory of the QEMUs that are queried one after another. Default: a new temporary directory for each. */
  readonly directory?: string;
  readonly hosting?: Hosting;
}

/** @throws Error with QEMU's own message when QEMU cannot be run. */
export async function gatherQemuFacts(binary: string, options: FactsOptions): Promise<QemuFacts> {
  const { kvm, cpuModels } = await gatherKvm(binary, options);
  return asking(binary, "tcg", options, async (monitor) => {
    const { qemu } = await monitor.execute("query-version", {});
    const machines = await monitor.execute("query-machines", {});
    const devices = await monitor.execute("qom-list-types", { implements: "device", abstract: false });
    return {
      binary,
      version: `${qemu.major}.${qemu.minor}.${qemu.micro}`,
      kvm,
      machines: machines.map((machine) => ({
        name: machine.name,
        alias: machine.alias,
        maxCpus: machine["cpu-max"],
      })),
      cpuModels: { tcg: await cpuModelsOf(monitor), kvm: cpuModels },
      devices: devices.map((device) => device.name),
    };
  });
}

/** QEMU's default CPU model. A KVM that cannot provide all of its features cannot run guests as they expect. */
const defaultCpu = "qemu64";

/** Checks whether KVM can run guests here. Opening /dev/kvm alone does not prove it. */
async function gatherKvm(
  binary: string,
  options: FactsOptions,
): Promise<{ kvm: Kvm; cpuModels: readonly CpuModelFact[] }> {
  const no = (why: string) => ({ kvm: { works: false, why } as const, cpuModels: [] });
  try {
    await (await open("/dev/kvm", "r+")).close();
    return await asking(binary, "kvm", options, async (monitor) => {
      if (!(await monitor.execute("query-kvm", {})).enabled)
        return no("QEMU reports that KVM is not enabled");
      const cpuModels = await cpuModelsOf(monitor);
      const lacking = cpuModels.find((cpuModel) => cpuModel.name === defaultCpu)?.unavailable ?? [];
      if (lacking.length > 0) return no(`QEMU's default CPU lacks ${lacking.join(", ")} under KVM`);
      return { kvm: { works: true }, cpuModels };
    });
  } catch (error) {
    return no(messageOf(error));
  }
}

async function cpuModelsOf(monitor: Monitor): Promise<CpuModelFact[]> {
  const models = await monitor.execute("query-cpu-definitions", {});
  return models.map((model) => ({ name: model.name, unavailable: model["unavailable-features"] ?? [] }));
}

/** Runs `ask` against a QEMU that is started without a machine, and ends that QEMU afterwards. */
async function asking<T>(
  binary: string,
  accelerator: "tcg" | "kvm",
  options: FactsOptions,
  ask: (monitor: Monitor) => Promise<T>,
): Promise<T> {
  const args = [
    "-machine",
    "none",
    "-accel",
    accelerator,
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-S",
  ];
  const qemu = await QemuProcess.start({ name: "facts", uuid: randomUUID(), binary, args }, options);
  try {
    return await ask(qemu.main);
  } finally {
    await endProcess(qemu);
  }
}

/**
 * Magic numbers of file systems that several hosts can mount (statfs(2)). FUSE counts as local, since its magic number does
 * not name the file system behind it.
 */
const sharedMagic: Readonly<Record<number, Storage>> = {
  26985: "shared", // NFS
  4283649346: "shared", // CIFS
  4266872130: "shared", // SMB2
  1397113167: "shared", // AFS
  18225520: "cluster", // GFS2
  1952539503: "cluster", // OCFS2
  12805120: "cluster", // CephFS
  1196443219: "cluster", // GPFS
};

export async function pathFacts(paths: readonly string[]): Promise<Record<string, PathFact>> {
  const facts: Record<string, PathFact> = {};
  for (const path of paths) facts[path] = await pathFact(path);
  return facts;
}

async function pathFact(path: string): Promise<PathFact> {
  try {
    const stats = await stat(path);
    const kind = stats.isFile() ? "file" : stats.isBlockDevice() ? "block" : "other";
    const { type } = await statfs(path);
    return { kind, storage: sharedMagic[type >>> 0] ?? "local" };
  } catch {
    return null;
  }
}
