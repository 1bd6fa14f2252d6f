// Translates a domain to a QEMU command line: the guest's hardware, which is the same on both sides, and the host's side of
// it. The launcher (drivers/qemu/process/launch.ts) adds the monitor, name, uuid, -S and -incoming.

import type { QemuSpec } from "../../qemu/process/spec.js";
import type { Domain } from "../domain.js";
import type { DomainModel } from "../schema/domain.js";
import { allOf } from "../xml/errors.js";
import { checkPci } from "./addresses.js";
import { addBoot, bootOrder } from "./boot.js";
import { addCharacters } from "./character-devices.js";
import { CommandLine } from "./command-line.js";
import { addControllers } from "./controllers.js";
import { addCpu } from "./cpu.js";
import { addDisks } from "./disks.js";
import { addDisplay } from "./display.js";
import { addInterfaces } from "./interfaces.js";
import { addMachine, type Kvm } from "./machine.js";
import { addOthers, addPassthrough } from "./rng-and-balloon.js";

export interface BuildOptions {
  /** Whether KVM is usable on this host; without it, a domain of type kvm is refused. */
  readonly kvm: Kvm;
  /** Directory for the sockets of channels that have no path of their own. */
  readonly directory?: string;
}

export interface BuiltQemu {
  /** `args` is the guest's hardware: both sides of a migration must use the same. */
  readonly spec: QemuSpec;
  /** Arguments for this side's disks, ports and displays. */
  readonly sideArgs: readonly string[];
}

/** @throws DomainXmlError with everything that is not supported, or not possible on this host. */
export function buildQemu({ name, uuid, model, refusals }: Domain, options: BuildOptions): BuiltQemu {
  const line = model === undefined ? new CommandLine() : commandLine(model, options);
  // A part that was refused while it was read is not refused a second time for its consequences.
  const isRefused = (path: string) => refusals.some((refusal) => refusal.path.startsWith(path));
  const all = [...refusals, ...line.refusals.filter((refusal) => !isRefused(refusal.path))];
  if (model === undefined || all.length > 0) throw allOf(all);
  const { hardwareArgs: args, hostArgs: sideArgs } = line;
  const env = environment(model);
  return { spec: { name, uuid, binary: binaryOf(model), args, ...(env && { env }) }, sideArgs };
}

/** Files that QEMU writes on this host: existing disk images, and files that ports create. */
export function filesOf({ model }: Pick<Domain, "model">): {
  readonly existing: readonly string[];
  readonly made: readonly string[];
} {
  const { disks = [], serials = [], consoles = [] } = model?.devices ?? {};
  return {
    existing: disks.flatMap((disk) => {
      if (disk.readonly) return [];
      const path =
        disk.type === "file" ? disk.source?.file : disk.type === "block" ? disk.source?.dev : undefined;
      return path ?? [];
    }),
    made: [...serials, ...consoles].flatMap((port) => (port.type === "file" ? [port.source.path] : [])),
  };
}

const binaries = { x86_64: "qemu-system-x86_64", i686: "qemu-system-i386" } as const;

/** Returns the domain's <emulator>, or the QEMU of its architecture; x86_64 when the domain cannot be read. */
export const binaryOf = (model: DomainModel | undefined): string =>
  model?.devices.emulator?.text ?? binaries[model?.os.type.arch ?? "x86_64"];

function environment({ commandline }: DomainModel): Record<string, string> | undefined {
  const envs = commandline?.envs ?? [];
  return envs.length === 0 ? undefined : Object.fromEntries(envs.map((env) => [env.name, env.value ?? ""]));
}

/** Returns the whole command line, with every reason why it cannot be used. */
export function commandLine(model: DomainModel, { kvm, directory }: BuildOptions): CommandLine {
  const line = new CommandLine();
  const order = bootOrder(line, model);
  addMachine(line, model, kvm);
  addCpu(line, model);
  addBoot(line, model);
  checkPci(line, model);
  addControllers(line, model);
  addDisks(line, model, order);
  addInterfaces(line, model, order);
  addCharacters(line, model, directory);
  addDisplay(line, model);
  addOthers(line, model);
  addPassthrough(line, model);
  return line;
}
