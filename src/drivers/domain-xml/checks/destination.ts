// Blockers at the destination: what its QEMU does not support, what its host lacks, and which guests conflict.

import { commandLine } from "../qemu-args/build.js";
import type { NeededFile } from "../qemu-args/command-line.js";
import type { DomainModel } from "../schema/domain.js";
import { placeIn } from "../xml/read.js";
import type { CpuModelFact, HostFacts } from "./host-facts.js";
import { type Incompatibility, type IncompatibilityCode, type Move, machineName } from "./incompatibility.js";

interface Models {
  readonly source: DomainModel;
  readonly destination: DomainModel;
}

/** Paths that must exist at the destination before the guest can be migrated there. */
export const neededPaths = (model: DomainModel): readonly string[] =>
  commandLine(model, { kvm: { works: true }, directory: "/" }).files.map(({ path }) => path);

export function arrival(models: Models, move: Move): Incompatibility[] {
  const { destination: model } = models;
  // KVM is checked below, against the destination's facts; the directory is created when the guest is prepared.
  const line = commandLine(model, { kvm: { works: true }, directory: "/" });
  const refused = line.refusals.map(({ path, what, next, ...place }): Incompatibility => {
    const destination = { line: place.line, column: place.column };
    return { code: "unsupported", path, source: undefined, destination, what, next };
  });
  const host = move.destinationHost;
  if (host === undefined) return refused;
  return [
    ...refused,
    ...identityReasons(move, model, host),
    ...machineReasons(models, move, host),
    ...cpuReasons(models, move, host),
    ...line.drivers
      .filter(({ driver }) => !host.qemu.devices.includes(driver))
      .map(({ driver, in: part }) => {
        const what = `the QEMU of ${host.hostname} does not support the device ${driver}`;
        return there("device-unknown", part, undefined, what, "use another device model, or another QEMU");
      }),
    ...line.files.flatMap((file) => fileReasons(file, move, host)),
  ];
}

function there(
  code: IncompatibilityCode,
  part: object,
  key: string | undefined,
  what: string,
  next: string,
): Incompatibility {
  const { path, line, column } = placeIn(part, key);
  return { code, path, source: undefined, destination: { line, column }, what, next };
}

function identityReasons({ source, destination = source }: Move, model: DomainModel, host: HostFacts) {
  const { name, uuid } = destination;
  const reasons: Incompatibility[] = [];
  const on = `on ${host.hostname}`;
  if (host.guests.some((guest) => guest.uuid === uuid)) {
    const next = "shut down or undefine that guest first";
    reasons.push(
      there("uuid-taken", model, "uuid", `a guest with the uuid ${uuid} already exists ${on}`, next),
    );
  }
  const namesake = host.guests.find((guest) => guest.name === name && guest.uuid !== uuid);
  if (namesake !== undefined) {
    const next = "give the guest another name at the destination";
    reasons.push(
      there("name-taken", model, "name", `the guest ${namesake.uuid} already has that name ${on}`, next),
    );
  }
  return reasons;
}

function machineReasons({ source, destination: model }: Models, { sourceHost }: Move, host: HostFacts) {
  const { machines, kvm, version } = host.qemu;
  const { type } = model.os;
  const name = machineName(type.machine, host);
  const known = machines.find((machine) => machine.name === name);
  const reasons: Incompatibility[] = [];
  if (known === undefined) {
    const what = `QEMU ${version} of ${host.hostname} does not support the machine type ${type.machine}`;
    reasons.push(
      there("machine-unknown", type, "machine", what, "use a QEMU at least as new as the source's"),
    );
  }
  const before = machineName(source.os.type.machine, sourceHost);
  if (sourceHost !== undefined && source.os.type.machine === type.machine && before !== name) {
    const what = `${type.machine} is ${before} on ${sourceHost.hostname}, and ${name} on ${host.hostname}`;
    reasons.push(
      there(
        "machine-differs",
        type,
        "machine",
        what,
        `name the versioned machine type on both sides: ${before}`,
      ),
    );
  }
  const cpus = model.vcpu?.text ?? 1;
  if (known !== undefined && cpus > known.maxCpus) {
    const what = `the guest has ${cpus} CPUs; ${known.name} supports at most ${known.maxCpus}`;
    reasons.push(there("too-many-cpus", model, "vcpu", what, "use a machine type that supports more"));
  }
  if (model.type === "kvm" && !kvm.works) {
    const what = `KVM is not usable on ${host.hostname}: ${kvm.why}`;
    reasons.push(there("no-kvm", model, "type", what, "choose a host with a usable KVM"));
  }
  return reasons;
}

function cpuReasons(
  { destination: model }: Models,
  { sourceHost }: Move,
  host: HostFacts,
): Incompatibility[] {
  const { cpu } = model;
  const next = "use a named CPU model that both hosts support";
  if (cpu?.mode === "maximum" || cpu?.mode === "host-passthrough") {
    if (sourceHost === undefined) return [];
    const its = (hostFacts: HostFacts) =>
      cpu.mode === "maximum" ? `QEMU ${hostFacts.qemu.version}` : hostFacts.processor;
    if (its(sourceHost) === its(host)) return [];
    const what = `the CPU depends on the host: ${its(sourceHost)} at the source, ${its(host)} at the destination`;
    return [there("cpu-differs", cpu, "mode", what, next)];
  }
  const name = cpu?.model?.text ?? "qemu64";
  const models = (hostFacts: HostFacts): readonly CpuModelFact[] =>
    hostFacts.qemu.cpuModels[model.type === "kvm" ? "kvm" : "tcg"];
  const part = cpu?.model ?? model;
  const known = models(host).find((modelFact) => modelFact.name === name);
  if (known === undefined) {
    if (models(host).length === 0) return [];
    return [
      there(
        "cpu-unknown",
        part,
        undefined,
        `the QEMU of ${host.hostname} does not support the CPU model ${name}`,
        next,
      ),
    ];
  }
  const off = (cpu?.features ?? []).filter(
    (feature) => feature.policy === "disable" || feature.policy === "forbid",
  );
  const before = sourceHost && models(sourceHost).find((modelFact) => modelFact.name === name)?.unavailable;
  // A feature that the source lacks too was never visible to the guest; a disabled feature is not required.
  const lost = known.unavailable.filter(
    (text) => !(before ?? []).includes(text) && !off.some(({ name: feature }) => feature === text),
  );
  const strict = cpu?.mode === "custom" && cpu.check === "full";
  if (lost.length === 0 || (before === undefined && !strict)) return [];
  return [
    there("cpu-differs", part, undefined, `${host.hostname} lacks the CPU features ${lost.join(", ")}`, next),
  ];
}

const missingFile = { disk: "disk-missing", firmware: "firmware-missing", kernel: "kernel-missing" } as const;

function fileReasons(
  { path, kind, in: part, key, target }: NeededFile,
  { copiedDisks = [] }: Move,
  host: HostFacts,
) {
  // The image of a mirrored disk is created at the destination.
  if (host.paths[path] !== null || (target !== undefined && copiedDisks.includes(target))) return [];
  const next = `provide the file there, or name a path in the destination's XML that exists on ${host.hostname}`;
  return [there(missingFile[kind], part, key, `${path} does not exist on ${host.hostname}`, next)];
}
