// From a domain to the QEMU that is the guest: the hardware, the same on both sides, and the host's side of it. It adds
// no monitor, name, uuid, -S or -incoming: those are the launcher's (drivers/qemu/process/launch.ts).

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
  /** Whether this host has it; a domain of type kvm is refused where it has not. */
  readonly kvm: Kvm;
  /** Where the sockets of channels are made that have no path of their own. */
  readonly directory?: string;
}

export interface BuiltQemu {
  /** Its `args` are the guest's hardware: both sides of a migration must have the same. */
  readonly spec: QemuSpec;
  /** Where this side's disks, ports and displays are. */
  readonly sideArgs: readonly string[];
}

/** @throws DomainXmlError with everything that is not supported, or cannot be on this host. */
export function buildQemu({ name, uuid, model, refusals }: Domain, options: BuildOptions): BuiltQemu {
  const line = model === undefined ? new CommandLine() : commandLine(model, options);
  // What was refused while it was read is not refused again for what it leaves behind.
  const told = (path: string) => refusals.some((refusal) => refusal.path.startsWith(path));
  const all = [...refusals, ...line.refusals.filter((refusal) => !told(refusal.path))];
  if (model === undefined || all.length > 0) throw allOf(all);
  const { hardwareArgs: args, hostArgs: sideArgs } = line;
  const env = environment(model);
  return { spec: { name, uuid, binary: binaryOf(model), args, ...(env && { env }) }, sideArgs };
}

/** What QEMU writes to on this host: disks that are there, and files that ports write. */
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

/** QEMU's, by the domain's own word or its architecture; a domain that cannot be read is taken to be x86_64's. */
export const binaryOf = (model: DomainModel | undefined): string =>
  model?.devices.emulator?.text ?? binaries[model?.os.type.arch ?? "x86_64"];

function environment({ commandline }: DomainModel): Record<string, string> | undefined {
  const envs = commandline?.envs ?? [];
  return envs.length === 0 ? undefined : Object.fromEntries(envs.map((env) => [env.name, env.value ?? ""]));
}

/** The whole command line, with what stands against it. */
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
