// The machine without its devices: memory, firmware and boot, features, clock, and the actions on power-off, reboot, crash.

import {
  content,
  defaulted,
  element,
  elementBy,
  exactlyOne,
  flag,
  guest,
  idle,
  type Model,
  many,
  needed,
  one,
  optional,
  refusedAttribute,
} from "../xml/table.js";
import { anyText, onOff, path, text, whole, word, yesNo } from "../xml/values.js";

const bytesOfUnit = {
  b: 1,
  bytes: 1,
  KB: 1e3,
  k: 2 ** 10,
  KiB: 2 ** 10,
  MB: 1e6,
  M: 2 ** 20,
  MiB: 2 ** 20,
  GB: 1e9,
  G: 2 ** 30,
  GiB: 2 ** 30,
  TB: 1e12,
  T: 2 ** 40,
  TiB: 2 ** 40,
} as const;
const unit = word("b", "bytes", "KB", "k", "KiB", "MB", "M", "MiB", "GB", "G", "GiB", "TB", "T", "TiB");

export const memory = element({
  unit: defaulted(unit, "KiB", guest("-m, rounded up to 8 KiB as QEMU does")),
  text: content(whole(1, 2 ** 50), guest("-m")),
});
/** Memory size in KiB as QEMU uses it: rounded up to 8 KiB. */
export const memoryKiB = ({ unit, text }: Model<typeof memory>): number =>
  Math.ceil((text * bytesOfUnit[unit]) / 8192) * 8;

export const vcpu = element({
  placement: optional(word("static"), idle("switchover pins no CPUs")),
  current: optional(whole(1, 4096), idle("must equal the number of CPUs: CPU hotplug is not supported")),
  text: content(whole(1, 4096), guest("-smp")),
});

const loader = element({
  type: defaulted(word("rom", "pflash"), "rom", guest("rom: -bios; pflash: -blockdev and -machine pflash0")),
  readonly: optional(yesNo, idle("a loader is always opened read-only")),
  secure: optional(word("no"), idle("secure boot is not supported")),
  text: content(path, { sees: "presence", does: "-bios, or -blockdev of pflash0" }),
});
const nvram = element({
  template: optional(path, idle("the file of <nvram> must exist")),
  text: content(path, { sees: "presence", does: "-blockdev of pflash1" }),
});
const file = (does: string) => element({ text: content(path, { sees: "presence", does }) });

export const os = element({
  firmware: refusedAttribute("name the firmware's file in <loader>, and its variables in <nvram>"),
  type: exactlyOne(
    element({
      arch: defaulted(
        word("x86_64", "i686"),
        "x86_64",
        guest("determines the QEMU binary when <emulator> is not given"),
      ),
      machine: defaulted(
        text(
          "pc, pc-i440fx-…, q35 or pc-q35-…",
          /^(?:pc|pc-i440fx-[\w.-]{1,40}|(?:pc-)?q35(?:-[\w.-]{1,40})?)$/,
        ),
        "pc",
        guest("-machine"),
      ),
      text: content(word("hvm"), guest("full virtualization, the only type that QEMU runs")),
    }),
  ),
  loader: one(loader),
  nvram: one(nvram),
  kernel: one(file("-kernel")),
  initrd: one(file("-initrd")),
  cmdline: one(element({ text: content(anyText, guest("-append")) })),
  boots: many(
    "boot",
    element({
      dev: needed(word("hd", "cdrom", "network"), guest("-device bootindex of the first of its kind")),
    }),
  ),
  bootmenu: one(
    element({
      enable: needed(yesNo, guest("-boot menu")),
      timeout: optional(whole(0, 65_535), guest("-boot splash-time")),
    }),
  ),
  bios: one(element({ rebootTimeout: needed(whole(-1, 65_535), guest("-boot reboot-timeout")) })),
});

const switchable = (does: string) => one(element({ state: defaulted(onOff, true, guest(does)) }));
const enlightenment = (name: string) => switchable(`-cpu hv-${name}; needs type="kvm"`);

/** Keyed by libvirt's name, which is QEMU's with underscores instead of dashes. */
export const hyperv = element({
  mode: optional(word("custom"), idle("every enlightenment is named")),
  relaxed: enlightenment("relaxed"),
  vapic: enlightenment("vapic"),
  vpindex: enlightenment("vpindex"),
  runtime: enlightenment("runtime"),
  synic: enlightenment("synic"),
  stimer: enlightenment("stimer"),
  reset: enlightenment("reset"),
  frequencies: enlightenment("frequencies"),
  reenlightenment: enlightenment("reenlightenment"),
  tlbflush: enlightenment("tlbflush"),
  ipi: enlightenment("ipi"),
  spinlocks: one(
    element({
      state: defaulted(onOff, true, guest("-cpu hv-spinlocks")),
      retries: optional(whole(4095, 2 ** 32 - 1), guest('-cpu hv-spinlocks; needs type="kvm"')),
    }),
  ),
  vendor_id: one(
    element({
      state: defaulted(onOff, true, guest("-cpu hv-vendor-id")),
      value: optional(
        text("1 to 12 characters without a comma or space", /^[^,\s]{1,12}$/),
        guest("-cpu hv-vendor-id"),
      ),
    }),
  ),
});

export const features = element({
  acpi: flag(guest("-machine acpi=off when it is not given")),
  apic: flag(idle("QEMU's x86 machines always have an APIC")),
  pae: flag(idle("QEMU's CPU models have PAE")),
  vmport: switchable("-machine vmport"),
  smm: switchable("-machine smm"),
  hyperv: one(hyperv),
});

const present = (does: string) => ({ present: needed(yesNo, guest(does)) });
export const clock = element({
  offset: defaulted(word("utc", "localtime"), "utc", guest("-rtc base")),
  timers: many(
    "timer",
    elementBy(
      "name",
      guest("selects the timer"),
      {
        rtc: {
          tickpolicy: optional(word("catchup", "delay"), guest("-rtc driftfix=slew or none")),
          track: optional(word("guest", "wall"), guest("-rtc clock=vm or host")),
        },
        pit: {
          tickpolicy: optional(
            word("delay", "discard"),
            guest('-global kvm-pit.lost_tick_policy with type="kvm"'),
          ),
        },
        hpet: present("-machine hpet"),
        kvmclock: present('-cpu kvmclock; needs type="kvm"'),
        hypervclock: present('-cpu hv-time; needs type="kvm"'),
      },
      {},
    ),
    { key: ({ name }) => name },
  ),
});

const action = <W extends readonly [string, ...string[]]>(does: string, ...words: W) =>
  one(element({ text: content(word(...words), guest(does)) }), { absent: { text: words[0] } });
/** The first value is the default. */
export const ends = {
  on_poweroff: action("destroy: QEMU exits; preserve: -action shutdown=pause", "destroy", "preserve"),
  on_reboot: action("restart: the guest is reset; destroy: -action reboot=shutdown", "restart", "destroy"),
  on_crash: action("destroy: QEMU exits; preserve: -action panic=pause", "destroy", "preserve"),
};

const sleep = (does: string) => one(element({ enabled: needed(yesNo, guest(does)) }));
export const pm = element({
  mem: { ...sleep("-global PIIX4_PM or ICH9-LPC.disable_s3"), name: "suspend-to-mem" },
  disk: { ...sleep("-global PIIX4_PM or ICH9-LPC.disable_s4"), name: "suspend-to-disk" },
});
