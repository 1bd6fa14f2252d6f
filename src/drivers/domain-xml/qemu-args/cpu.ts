// The CPU's model and features, with the paravirtual features that libvirt configures under <features> and <clock>.

import type { DomainModel } from "../schema/domain.js";
import { type CommandLine, onOff } from "./command-line.js";

/** Features whose QEMU name differs from libvirt's by more than dashes instead of underscores. */
const spelling: Readonly<Record<string, string>> = { pclmuldq: "pclmulqdq" };
const asQemu = (feature: string) => (spelling[feature] ?? feature).replaceAll("_", "-");

export function addCpu(line: CommandLine, model: DomainModel): void {
  const { cpu, type } = model;
  if (cpu?.mode === "host-passthrough" && type !== "kvm") {
    line.unsupported(cpu, "mode", "it requires KVM", 'use mode="maximum", or a named model');
  }
  const enlightenments = addEnlightenments(line, model);
  const features = (cpu?.features ?? []).map(
    ({ name, policy }) => `${asQemu(name)}=${onOff(policy === "require" || policy === "force")}`,
  );
  const words = [...modelWords(line, model), ...features, ...enlightenments];
  if (cpu !== undefined || words.length > 1) line.hardware("-cpu", words.join(","));
}

/** Default CPU model of both QEMU and libvirt. */
const usual = "qemu64";

function modelWords(line: CommandLine, { cpu }: DomainModel): string[] {
  switch (cpu?.mode) {
    case "maximum":
      return ["max"];
    case "host-passthrough": {
      const { migratable } = cpu;
      return migratable === undefined ? ["host"] : ["host", `migratable=${onOff(migratable)}`];
    }
    case "custom": {
      if (cpu.model === undefined) line.missing(cpu, "model", "add the model, as in <model>qemu64</model>");
      return [cpu.model?.text ?? usual, ...(cpu.check === "full" ? ["enforce"] : [])];
    }
    default:
      return [usual];
  }
}

function addEnlightenments(line: CommandLine, { type, features, clock }: DomainModel): string[] {
  const words: string[] = [];
  const add = (part: object, word: string) => {
    words.push(word);
    if (type !== "kvm") line.unsupported(part, undefined, "it requires KVM", 'remove it, or use type="kvm"');
  };
  const { mode: _, spinlocks, vendor_id, ...switches } = features?.hyperv ?? {};
  for (const [name, enlightenment] of Object.entries(switches)) {
    if (typeof enlightenment === "object" && enlightenment.state)
      add(enlightenment, `hv-${name.replaceAll("_", "-")}=on`);
  }
  if (spinlocks?.state === true) {
    if (spinlocks.retries === undefined)
      line.missing(spinlocks, "retries", "give their number, 4095 or more");
    add(spinlocks, `hv-spinlocks=${spinlocks.retries}`);
  }
  if (vendor_id?.state === true) {
    if (vendor_id.value === undefined) line.missing(vendor_id, "value", "give the vendor's name");
    add(vendor_id, `hv-vendor-id=${vendor_id.value}`);
  }
  for (const timer of clock?.timers ?? []) {
    if (timer.name === "kvmclock") add(timer, `kvmclock=${onOff(timer.present)}`);
    if (timer.name === "hypervclock" && timer.present) add(timer, "hv-time=on");
  }
  return words;
}
