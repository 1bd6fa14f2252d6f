// The machine: memory, CPUs, clock, lifecycle actions.

import { bare } from "../../../../support/domains.js";
import type { Case } from "./case.js";

export const machine: readonly Case[] = [
  {
    says: "a PC under TCG, without anything",
    xml: bare(),
    hardware: [
      "-machine pc,usb=off,dump-guest-core=off",
      "-accel tcg",
      "-m 65544K",
      "-smp 1,sockets=1,dies=1,cores=1,threads=1",
      "-display none",
      "-no-user-config",
      "-nodefaults",
      "-rtc base=utc",
      "-boot strict=on",
      "!-device",
      "!-cpu",
      "!-S",
      "!-incoming",
      "!-name",
      "!-uuid",
    ],
    host: [],
  },
  {
    says: "a q35 machine",
    xml: bare({ machine: "q35" }),
    hardware: ["-machine q35,usb=off,dump-guest-core=off"],
  },
  { says: "KVM", xml: bare({ type: "kvm" }), hardware: ["-accel kvm"], needs: "kvm" },
  {
    says: "memory in its units, rounded up to 8 KiB",
    xml: bare({ more: "<currentMemory unit='bytes'>67117056</currentMemory>" }).replace(
      "<memory unit='KiB'>65544<",
      "<memory unit='b'>67117051<",
    ),
    hardware: ["-m 65544K"],
  },
  {
    says: "CPUs in sockets, dies, cores and threads",
    xml: bare({
      more: "<vcpu placement='static' current='8'>8</vcpu><cpu mode='maximum' check='none'><topology sockets='2' dies='1' cores='2' threads='2'/></cpu>",
    }),
    hardware: ["-smp 8,sockets=2,dies=1,cores=2,threads=2", "-cpu max"],
  },
  {
    says: "a CPU model with and without features, which must all be there",
    xml: bare({
      more: `<cpu mode='custom' match='exact' check='full'><model fallback='forbid'>qemu64</model><vendor>AMD</vendor>
        <feature policy='require' name='lahf_lm'/><feature policy='force' name='pclmuldq'/>
        <feature policy='disable' name='svm'/><feature policy='forbid' name='3dnow'/></cpu>`,
    }),
    hardware: ["-cpu qemu64,enforce,lahf-lm=on,pclmulqdq=on,svm=off,3dnow=off"],
  },
  {
    says: "the host's own CPU",
    xml: bare({ type: "kvm", more: "<cpu mode='host-passthrough' check='none' migratable='on'/>" }),
    hardware: ["-cpu host,migratable=on"],
    needs: "kvm",
  },
  {
    says: "features of the machine that are off",
    xml: bare({ machine: "q35" }).replace("<acpi/>", "<apic/><pae/><vmport state='off'/><smm state='off'/>"),
    hardware: ["-machine q35,usb=off,dump-guest-core=off,acpi=off,vmport=off,smm=off"],
  },
  {
    says: "enlightenments for Windows",
    xml: bare({
      type: "kvm",
      more: "<clock><timer name='kvmclock' present='no'/><timer name='hypervclock' present='yes'/></clock>",
    }).replace(
      "<acpi/>",
      `<acpi/><hyperv mode='custom'><relaxed state='on'/><vapic state='on'/><spinlocks state='on' retries='8191'/>
        <vpindex state='on'/><runtime state='on'/><synic state='on'/><stimer state='on'/><reset state='on'/>
        <vendor_id state='on' value='KVM Hv'/><frequencies state='on'/><reenlightenment state='on'/>
        <tlbflush state='on'/><ipi state='off'/></hyperv>`.replace("KVM Hv", "KVMHv"),
    ),
    hardware: [
      `-cpu ${[
        "qemu64",
        ...["relaxed", "vapic", "vpindex", "runtime", "synic", "stimer", "reset", "frequencies"].map(
          (text) => `hv-${text}=on`,
        ),
        ...["hv-reenlightenment=on", "hv-tlbflush=on", "hv-spinlocks=8191", "hv-vendor-id=KVMHv"],
        ...["kvmclock=off", "hv-time=on"],
      ].join(",")}`,
    ],
    needs: "kvm",
  },
  {
    says: "a clock in local time that catches up with what it has lost",
    xml: bare({
      more: "<clock offset='localtime'><timer name='rtc' tickpolicy='catchup' track='guest'/><timer name='pit' tickpolicy='delay'/><timer name='hpet' present='no'/></clock>",
    }),
    hardware: [
      "-rtc base=localtime,driftfix=slew,clock=vm",
      "-machine pc,usb=off,dump-guest-core=off,hpet=off",
    ],
  },
  {
    says: "a timer's policy under KVM",
    xml: bare({ type: "kvm", more: "<clock offset='utc'><timer name='pit' tickpolicy='discard'/></clock>" }),
    hardware: ["-global kvm-pit.lost_tick_policy=discard"],
    needs: "kvm",
  },
  {
    says: "what happens at the end",
    xml: bare({
      more: "<on_poweroff>preserve</on_poweroff><on_reboot>destroy</on_reboot><on_crash>preserve</on_crash>",
    }),
    hardware: ["-action shutdown=pause,reboot=shutdown,panic=pause"],
  },
  {
    says: "the usual ends, which need no argument",
    xml: bare({
      more: "<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>",
    }),
    hardware: ["!-action"],
  },
  {
    says: "no sleep",
    xml: bare({ more: "<pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm>" }),
    hardware: ["-global PIIX4_PM.disable_s3=1", "-global PIIX4_PM.disable_s4=1"],
  },
  {
    says: "no sleep on a q35",
    xml: bare({
      machine: "q35",
      more: "<pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='yes'/></pm>",
    }),
    hardware: ["-global ICH9-LPC.disable_s3=1", "-global ICH9-LPC.disable_s4=0"],
  },
  {
    says: "what is kept for operators and applications, and what is not done here anyway",
    xml: bare({
      more: `<title>A</title><description>B</description><metadata><a:b xmlns:a='urn:a' c='d'/></metadata>
        <resource><partition>/machine</partition></resource><seclabel type='none' model='dac'/>`,
      devices: "<emulator>/usr/bin/qemu-system-x86_64</emulator><audio id='1' type='none'/>",
    }).replace("<domain ", "<domain id='7' "),
    hardware: ["!-audiodev"],
  },
  {
    says: "arguments and an environment that go past us",
    xml: bare({
      more: "<qemu:commandline><qemu:arg value='-fw_cfg'/><qemu:arg value='name=opt/a,string=b'/><qemu:env name='A' value='1'/><qemu:env name='B'/></qemu:commandline>",
    }),
    hardware: ["-fw_cfg name=opt/a,string=b"],
  },
];
