// Machine, accelerator, memory, CPUs, clock, and the actions on power-off, reboot and crash.

import { familyOf } from "../schema/derived-properties.js";
import type { DomainModel } from "../schema/domain.js";
import { memoryKiB } from "../schema/system.js";
import { type CommandLine, onOff, options } from "./command-line.js";

/** Whether KVM is usable on the host; `why` is the reason when it is not. */
export type Kvm = { readonly works: true } | { readonly works: false; readonly why: string };

export function addMachine(line: CommandLine, model: DomainModel, kvm: Kvm): void {
  const { type, os, features, clock } = model;
  if (type === "kvm" && !kvm.works) {
    const next = 'repair KVM on this host, or use type="qemu" (software emulation, slow)';
    line.conflict(model, "type", `KVM is not usable on this host: ${kvm.why}`, next);
  }
  const timer = (name: string) => clock?.timers.find((candidate) => candidate.name === name);
  const hpet = timer("hpet");
  line.hardware(
    "-machine",
    options(os.type.machine, {
      usb: "off",
      "dump-guest-core": "off",
      acpi: features?.acpi === true ? undefined : "off",
      vmport: onOff(features?.vmport?.state),
      smm: onOff(features?.smm?.state),
      hpet: hpet?.name === "hpet" ? onOff(hpet.present) : undefined,
      pflash0: os.loader?.type === "pflash" ? "pflash0-format" : undefined,
      pflash1: os.nvram === undefined ? undefined : "pflash1-format",
    }),
  );
  line.hardware("-accel", type === "kvm" ? "kvm" : "tcg");
  addMemory(line, model);
  addVcpus(line, model);
  line.hardware("-display", "none", "-no-user-config", "-nodefaults");
  addClock(line, model);
  addEnds(line, model);
}

function addMemory(line: CommandLine, { memory, currentMemory }: DomainModel): void {
  const kib = memoryKiB(memory);
  line.hardware("-m", `${kib}K`);
  if (currentMemory !== undefined && memoryKiB(currentMemory) !== kib) {
    line.unsupported(
      currentMemory,
      undefined,
      "a value that differs from <memory> is not supported",
      "give both the same size",
    );
  }
}

function addVcpus(line: CommandLine, { vcpu, cpu }: DomainModel): void {
  const count = vcpu?.text ?? 1;
  const { sockets, dies, cores, threads } = cpu?.topology ?? {
    sockets: count,
    dies: 1,
    cores: 1,
    threads: 1,
  };
  line.hardware("-smp", options(`${count}`, { sockets, dies, cores, threads }));
  const places = sockets * dies * cores * threads;
  if (cpu?.topology !== undefined && places !== count) {
    const next = "make the product of the topology equal to <vcpu>";
    line.conflict(cpu, "topology", `it has ${places} CPUs, the domain has ${count}`, next);
  }
  if (vcpu?.current !== undefined && vcpu.current !== count) {
    line.unsupported(
      vcpu,
      "current",
      "a number of CPUs other than <vcpu> is not supported",
      "give the same number, or omit it",
    );
  }
}

function addClock(line: CommandLine, { clock, type }: DomainModel): void {
  let rtc: { driftfix?: string; clock?: string } = {};
  for (const timer of clock?.timers ?? []) {
    if (timer.name === "rtc") {
      const { tickpolicy, track } = timer;
      rtc = {
        ...(tickpolicy !== undefined && { driftfix: tickpolicy === "catchup" ? "slew" : "none" }),
        ...(track !== undefined && { clock: track === "guest" ? "vm" : "host" }),
      };
    }
    if (timer.name === "pit" && timer.tickpolicy !== undefined) {
      // Without KVM, QEMU has a single policy, delay.
      if (type === "kvm") line.hardware("-global", `kvm-pit.lost_tick_policy=${timer.tickpolicy}`);
      else if (timer.tickpolicy !== "delay")
        line.unsupported(timer, "tickpolicy", "it requires KVM", "use delay");
    }
  }
  line.hardware("-rtc", options(`base=${clock?.offset ?? "utc"}`, rtc));
}

function addEnds(line: CommandLine, model: DomainModel): void {
  const { on_poweroff, on_reboot, on_crash, pm } = model;
  const actions = [
    ...(on_poweroff?.text === "preserve" ? ["shutdown=pause"] : []),
    ...(on_reboot?.text === "destroy" ? ["reboot=shutdown"] : []),
    ...(on_crash?.text === "preserve" ? ["panic=pause"] : []),
  ];
  if (actions.length > 0) line.hardware("-action", actions.join(","));
  const power = familyOf(model) === "q35" ? "ICH9-LPC" : "PIIX4_PM";
  for (const [state, sleep] of [
    ["s3", pm?.mem],
    ["s4", pm?.disk],
  ] as const) {
    if (sleep !== undefined) line.hardware("-global", `${power}.disable_${state}=${sleep.enabled ? 0 : 1}`);
  }
}
