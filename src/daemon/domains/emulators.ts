// Which QEMUs a guest that another host sends may name as its emulator. It would be run with this daemon's privileges: a
// peer chooses among those that this host has been configured for. A definition that is made here may name any.

import type { Domain } from "../../drivers/domain-xml/domain.js";
import { isIn } from "../../protocol/peer-text.js";
import { quoted } from "../../protocol/printable.js";
import { libvirtError } from "../rpc/errors.js";

interface Allowed {
  readonly emulators: readonly string[];
}

/** The system's own, in the places where a QEMU without a directory would be looked for. */
export function systemEmulators(path = process.env["PATH"] ?? ""): readonly string[] {
  const directories = new Set([...path.split(":").filter((part) => part.startsWith("/")), "/usr/bin"]);
  const named = [...directories].map((directory) => `${directory.replace(/\/+$/, "")}/qemu-system-*`);
  return [...named, "/usr/bin/kvm", "/usr/bin/qemu-kvm", "/usr/libexec/qemu-kvm"];
}

export const mayRun = (emulators: readonly string[], binary: string): boolean =>
  !binary.split("/").some((part) => part === "." || part === "..") &&
  emulators.some((place) =>
    place.endsWith("/**")
      ? isIn(place, binary)
      : place.endsWith("*")
        ? isIn(parentOf(place), binary) && binary.startsWith(place.slice(0, -1))
        : place === binary,
  );

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf("/"));

/** @throws LibvirtError when the guest names another. */
export function checkEmulator({ emulators }: Allowed, { name, model }: Domain): void {
  const binary = model?.devices.emulator?.text;
  if (binary === undefined || mayRun(emulators, binary)) return;
  throw libvirtError(
    "CONFIG_UNSUPPORTED",
    `the emulator ${quoted(binary)} of domain ${quoted(name)} is not among this host's emulators; add it to "emulators" in this host's configuration, or migrate with an XML that names another`,
  );
}

/** A name without a directory is one of our own, for a guest that names none. @throws LibvirtError as checkEmulator. */
export function checkAskedBinary({ emulators }: Allowed, binary: string): void {
  if (/^qemu-system-[\w-]+$/.test(binary) || mayRun(emulators, binary)) return;
  throw libvirtError(
    "CONFIG_UNSUPPORTED",
    `the emulator ${quoted(binary)} is not among this host's emulators`,
  );
}
