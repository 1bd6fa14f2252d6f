// Checks which QEMU binary an incoming guest may name as its emulator. The binary runs with this daemon's privileges, so a
// peer may choose only among the configured ones. A definition created on this host may name any binary.

import type { Domain } from "../../drivers/domain-xml/domain.js";
import { isIn } from "../../protocol/peer-text.js";
import { quoted } from "../../protocol/printable.js";
import { libvirtError } from "../rpc/errors.js";

interface Allowed {
  readonly emulators: readonly string[];
}

/** Returns patterns for the system's QEMU binaries, in the directories that a binary name without a path is searched in. */
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

/** @throws LibvirtError when the guest names an emulator that is not allowed. */
export function checkEmulator({ emulators }: Allowed, { name, model }: Domain): void {
  const binary = model?.devices.emulator?.text;
  if (binary === undefined || mayRun(emulators, binary)) return;
  throw libvirtError(
    "CONFIG_UNSUPPORTED",
    `the emulator ${quoted(binary)} of domain ${quoted(name)} is not among this host's emulators; add it to "emulators" in this host's configuration, or migrate with an XML that names another`,
  );
}

/** A name without a directory is the default of a guest that names no emulator. @throws LibvirtError as checkEmulator. */
export function checkAskedBinary({ emulators }: Allowed, binary: string): void {
  if (/^qemu-system-[\w-]+$/.test(binary) || mayRun(emulators, binary)) return;
  throw libvirtError(
    "CONFIG_UNSUPPORTED",
    `the emulator ${quoted(binary)} is not among this host's emulators`,
  );
}
