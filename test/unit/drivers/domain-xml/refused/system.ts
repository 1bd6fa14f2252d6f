// Refused machine settings.

import { bare, domainXml } from "../../../../support/domains.js";
import { disk } from "../cases/case.js";

/** Title, complete XML, and the path and the beginning of the message of each refusal. */
export type Refused = [it: string, xml: string, ...refusals: [path: string, what: string][]];

export const refusedSystems: readonly Refused[] = [
  [
    "another hypervisor",
    domainXml().replace("'qemu'", "'xen'"),
    ["domain/@type", '"xen" is not a valid value'],
  ],
  ["another architecture", domainXml().replace("x86_64", "aarch64"), ["domain/os/type/@arch", '"aarch64"']],
  ["another machine", bare({ machine: "microvm" }), ["domain/os/type/@machine", '"microvm"']],
  [
    "a machine type that contains an option",
    bare({ machine: "pc,accel=kvm" }),
    ["domain/os/type/@machine", '"pc,accel'],
  ],
  [
    "automatic firmware selection",
    domainXml().replace("<os>", "<os firmware='efi'>"),
    ["domain/os/@firmware", 'firmware="efi"'],
  ],
  [
    "secure boot",
    bare({ os: "<loader secure='yes' type='pflash'>/a</loader>" }),
    ["domain/os/loader/@secure", '"yes"'],
  ],
  [
    "a firmware image that the guest may write",
    bare({ os: "<loader readonly='no' type='pflash'>/a</loader>" }),
    ["domain/os/loader/@readonly", "a writable loader is not supported"],
  ],
  [
    "NVRAM without flash",
    bare({ os: "<nvram>/a</nvram>" }),
    ["domain/os/nvram", "it requires a firmware in flash"],
  ],
  [
    "an initrd without a kernel",
    bare({ os: "<initrd>/a</initrd><cmdline>b</cmdline>" }),
    ["domain/os/initrd", "it requires a <kernel>"],
    ["domain/os/cmdline", "it requires a <kernel>"],
  ],
  [
    "two boot orders",
    bare({ os: "<boot dev='hd'/>", devices: disk("dev='vda'", "<boot order='1'/>") }),
    ["domain/os/boot[1]", "devices have their own <boot order>"],
  ],
  [
    "one boot index for two devices",
    bare({ devices: disk("dev='vda'", "<boot order='1'/>") + disk("dev='vdb'", "<boot order='1'/>") }),
    ["domain/devices/disk[2]/boot/@order", "another device already has the order 1"],
  ],
  [
    "a current memory below the maximum",
    bare({ more: "<currentMemory>1024</currentMemory>" }),
    ["domain/currentMemory", "a value that differs from <memory> is not supported"],
  ],
  [
    "hot-pluggable memory",
    bare({ more: "<maxMemory slots='1'>99</maxMemory>" }),
    ["domain/maxMemory", "<maxMemory> is not"],
  ],
  [
    "memory that is negative",
    domainXml().replace(">65544<", ">-1<"),
    ["domain/memory", '"-1" is not a valid value'],
  ],
  [
    "memory beyond the range of integers",
    domainXml().replace(">65544<", ">99999999999999999999<"),
    ["domain/memory", '"99999'],
  ],
  [
    "hot-pluggable CPUs",
    bare({ more: "<vcpu current='1'>2</vcpu>" }),
    ["domain/vcpu/@current", "a number of CPUs other than <vcpu>"],
  ],
  [
    "pinned CPUs",
    bare({ more: "<vcpu cpuset='1'>2</vcpu>" }),
    ["domain/vcpu/@cpuset", "the attribute cpuset"],
  ],
  [
    "a topology that does not add up",
    bare({ more: "<vcpu>3</vcpu><cpu mode='maximum'><topology sockets='1' cores='2' threads='1'/></cpu>" }),
    ["domain/cpu/topology", "it has 2 CPUs, the domain has 3"],
  ],
  [
    "CPU mode host-model",
    bare({ more: "<cpu mode='host-model'/>" }),
    ["domain/cpu/@mode", '"host-model" is not supported'],
  ],
  [
    "the host's CPU without KVM",
    bare({ more: "<cpu mode='host-passthrough'/>" }),
    ["domain/cpu/@mode", "it requires KVM"],
  ],
  ["a CPU without a model", bare({ more: "<cpu mode='custom'/>" }), ["domain/cpu/model", "it is not given"]],
  [
    "a CPU with match='minimum'",
    bare({ more: "<cpu mode='custom' match='minimum'><model>qemu64</model></cpu>" }),
    ["domain/cpu/@match", '"minimum" is not a valid value'],
  ],
  [
    "an optional CPU feature",
    bare({ more: "<cpu mode='maximum'><feature policy='optional' name='x2apic'/></cpu>" }),
    ["domain/cpu/feature[1]/@policy", '"optional" is not a valid value'],
  ],
  [
    "a feature name that contains an option",
    bare({ more: "<cpu mode='maximum'><feature name='x2apic=on,enforce'/></cpu>" }),
    ["domain/cpu/feature[1]/@name", '"x2apic=on,enforce"'],
  ],
  [
    "features that need KVM, without KVM",
    bare({
      more: "<clock offset='utc'><timer name='kvmclock' present='no'/><timer name='pit' tickpolicy='discard'/></clock>",
    }).replace("<acpi/>", "<hyperv><relaxed state='on'/><spinlocks state='on' retries='4095'/></hyperv>"),
    ["domain/features/hyperv/relaxed", "it requires KVM"],
    ["domain/features/hyperv/spinlocks", "it requires KVM"],
    ["domain/clock/timer[1]", "it requires KVM"],
    ["domain/clock/timer[2]/@tickpolicy", "it requires KVM"],
  ],
  [
    "an enlightenment without its value",
    bare({ type: "kvm" }).replace(
      "<acpi/>",
      "<hyperv><spinlocks state='on'/><vendor_id state='on'/></hyperv>",
    ),
    ["domain/features/hyperv/spinlocks/@retries", "it is not given"],
    ["domain/features/hyperv/vendor_id/@value", "it is not given"],
  ],
  [
    "a clock with a fixed offset",
    bare({ more: "<clock offset='variable' adjustment='1'/>" }),
    ["domain/clock/@offset", '"variable" is not a valid value'],
    ["domain/clock/@adjustment", "the attribute adjustment"],
  ],
  [
    "a lifecycle action that is not supported",
    bare({ more: "<on_poweroff>restart</on_poweroff><on_crash>coredump-destroy</on_crash>" }),
    ["domain/on_poweroff", '"restart" is not a valid value'],
    ["domain/on_crash", '"coredump-destroy" is not a valid value'],
  ],
  ["two accounts of one thing", bare({ more: "<clock/><clock/>" }), ["domain/clock", "it occurs twice"]],
  ["a text where none belongs", bare({ more: "hello" }), ["domain", 'the text "hello"']],
];
