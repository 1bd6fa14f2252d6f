// What a host has to offer a guest that wants to move there: its QEMU's machines, CPU models and devices, asked of that
// QEMU itself, its KVM, the guests that it has, and the files that the guest needs.

import { randomUUID } from "node:crypto";
import { open, stat, statfs } from "node:fs/promises";
import type { Clock } from "../../../effects/ports.js";
import { messageOf } from "../../../protocol/effect-result.js";
import type { Monitor } from "../../qemu/monitor/commands.js";
import { endProcess } from "../../qemu/process/end-process.js";
import { QemuProcess } from "../../qemu/process/process.js";
import type { Hosting } from "../../qemu/process/spec.js";
import type { Kvm } from "../qemu-args/machine.js";

/** A CPU model that a QEMU knows, and the features that it has there only in name. */
export interface CpuModelFact {
  readonly name: string;
  readonly unavailable: readonly string[];
}

export interface QemuFacts {
  readonly binary: string;
  readonly version: string;
  readonly kvm: Kvm;
  readonly machines: readonly { name: string; alias: string | undefined; maxCpus: number }[];
  /** By accelerator; with KVM, what this host's processor makes of them. */
  readonly cpuModels: { readonly tcg: readonly CpuModelFact[]; readonly kvm: readonly CpuModelFact[] };
  /** Every device that can be given by `-device`. */
  readonly devices: readonly string[];
}

/** `shared`: the other host may have it too. `cluster`: and sees each write at once, whatever is cached. */
export type Storage = "local" | "shared" | "cluster";

/** Null when there is nothing at that path, or nothing that can be reached. */
export type PathFact = { readonly kind: "file" | "block" | "other"; readonly storage: Storage } | null;

export interface HostFacts {
  readonly hostname: string;
  /** Of the processor, as the system names it: what a CPU that is passed through looks like. */
  readonly processor: string;
  readonly qemu: QemuFacts;
  /** That this host has already, running or defined. */
  readonly guests: readonly { readonly name: string; readonly uuid: string }[];
  readonly paths: Readonly<Record<string, PathFact>>;
}

export interface FactsOptions {
  readonly clock: Clock;
  /** Of the QEMUs that are asked, one after the other. Default: new ones for temporary files. */
  readonly directory?: string;
  readonly hosting?: Hosting;
}

/** @throws Error with QEMU's words when it cannot be run. */
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

/** QEMU's own default: a KVM that cannot give all of it cannot give a guest what it expects. */
const defaultCpu = "qemu64";

/** Whether KVM can run guests here; a device that opens proves little. */
async function gatherKvm(
  binary: string,
  options: FactsOptions,
): Promise<{ kvm: Kvm; cpuModels: readonly CpuModelFact[] }> {
  const no = (why: string) => ({ kvm: { works: false, why } as const, cpuModels: [] });
  try {
    await (await open("/dev/kvm", "r+")).close();
    return await asking(binary, "kvm", options, async (monitor) => {
      if (!(await monitor.execute("query-kvm", {})).enabled) return no("QEMU does not use it");
      const cpuModels = await cpuModelsOf(monitor);
      const lacking = cpuModels.find((cpuModel) => cpuModel.name === defaultCpu)?.unavailable ?? [];
      if (lacking.length > 0) return no(`with it, QEMU's usual CPU lacks ${lacking.join(", ")}`);
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

/** A QEMU without a machine, for as long as it is asked. */
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

/** Of file systems that several hosts can have (statfs(2)); FUSE is taken for local, since it does not say what it is. */
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
