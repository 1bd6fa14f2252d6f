// The table of the supported parts of libvirt's domain XML. Facts: libvirt's docs/formatdomain.rst; the QEMU arguments follow
// libvirt 9.0's command line for QEMU 7.2.

import {
  content,
  element,
  elementBy,
  exactlyOne,
  guest,
  host,
  idle,
  type Model,
  many,
  needed,
  one,
  opaque,
  optional,
  refusedChild,
} from "../xml/table.js";
import { anyText, path, text, uuid, whole, word } from "../xml/values.js";
import { channel, consoleDevice, serial } from "./character.js";
import { cpu } from "./cpu.js";
import { audio, controller, graphics, input, memballoon, rng, video } from "./device.js";
import { disk } from "./disk.js";
import { networkInterface } from "./network.js";
import { clock, ends, features, memory, memoryKiB, os, pm, vcpu } from "./system.js";

export const qemuNamespace = "http://libvirt.org/schemas/domain/qemu/1.0";

const tiedToTheHost = "remove it: it ties the guest to this host";
const devices = element({
  emulator: one(element({ text: content(path, host("the QEMU binary")) })),
  disks: many("disk", disk, { key: ({ target }) => target.dev }),
  controllers: many("controller", controller, { key: ({ type, index }) => `${type} ${index}` }),
  interfaces: many("interface", networkInterface),
  serials: many("serial", serial),
  consoles: many("console", consoleDevice),
  channels: many("channel", channel),
  inputs: many("input", input),
  graphics: many("graphics", graphics),
  videos: many("video", video),
  audios: many("audio", audio, { sees: "nothing" }),
  rngs: many("rng", rng),
  memballoon: one(memballoon),
  hostdev: refusedChild(tiedToTheHost),
  filesystem: refusedChild(tiedToTheHost),
  redirdev: refusedChild(tiedToTheHost),
});

const commandline = element({
  args: many("arg", element({ value: needed(anyText, guest("the argument, unchanged, after all others")) }), {
    namespace: qemuNamespace,
  }),
  envs: many(
    "env",
    element({
      name: needed(text("a variable's name", /^[A-Za-z_]\w*$/), guest("QEMU's environment")),
      value: optional(anyText, guest("QEMU's environment")),
    }),
    { namespace: qemuNamespace },
  ),
});

const memoryBy = {
  sees: { of: (size: Model<typeof memory> | undefined) => size && `${memoryKiB(size)} KiB` },
};

export const uuidElement = element({ text: content(uuid, guest("-uuid; generated when it is not given")) });
const names = {
  name: exactlyOne(
    element({ text: content(text("a name without / or line feed", /^[^/\n]{1,255}$/), host("-name")) }),
  ),
  uuid: one(uuidElement),
};
/** The minimum that a domain needs to be defined. */
export const identity = element(names);

export const domain = element({
  ...names,
  type: needed(word("qemu", "kvm"), guest("-accel tcg or kvm")),
  id: optional(whole(1, 2 ** 31 - 1), idle("libvirt's number of a running domain")),
  title: opaque("kept for operators"),
  description: opaque("kept for operators"),
  metadata: opaque("kept for applications"),
  memory: exactlyOne(memory, memoryBy),
  // Not compared: it must equal <memory>, which is compared.
  currentMemory: one(memory, { sees: "nothing" }),
  vcpu: one(vcpu, { absent: { text: 1 } }),
  resource: one(
    element({
      partition: one(
        element({ text: content(path, idle("QEMU stays in the cgroup of its parent process")) }),
      ),
    }),
  ),
  os: exactlyOne(os),
  features: one(features),
  cpu: one(cpu),
  clock: one(clock, { absent: { offset: "utc", timers: [] } }),
  ...ends,
  pm: one(pm),
  seclabels: many(
    "seclabel",
    elementBy(
      "type",
      host("none"),
      { none: {} },
      { model: optional(word("dac", "selinux", "apparmor"), idle("switchover sets no security labels")) },
    ),
    { sees: "nothing" },
  ),
  devices: exactlyOne(devices),
  commandline: one(commandline, { namespace: qemuNamespace }),
});
export type DomainModel = Model<typeof domain>;
