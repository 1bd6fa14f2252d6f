// Confines a QEMU: which system calls it may make, and which user it runs as, in case a guest takes control of its
// QEMU.

import { open } from "node:fs/promises";

/**
 * The user and group of the QEMU process. Its supplementary groups are dropped, so the group must be able to open
 * /dev/kvm.
 */
export interface QemuUser {
  readonly uid: number;
  readonly gid: number;
}

export interface Confinement {
  /** Default: true. */
  readonly sandbox?: boolean | undefined;
  /** Default: the user of this process. */
  readonly user?: QemuUser | undefined;
}

/** Network back ends for which QEMU runs a helper: qemu-bridge-helper(8), or a script that sets up a tap device. */
const runsHelper = (backend: string): boolean =>
  backend.startsWith("bridge,") ||
  backend.includes(",helper=") ||
  (backend.startsWith("tap,") && /,(down)?script=(?!no(,|$))/.test(backend));

/**
 * Returns QEMU's arguments for libvirt's set of denied system calls. An embedder's own `-sandbox` takes precedence. A
 * guest with a helper may start it; with a separate user the helper also needs its set-user-ID bit.
 */
export function sandboxArgs(
  args: readonly string[],
  { sandbox = true, user }: Confinement = {},
): readonly string[] {
  if (!sandbox || args.includes("-sandbox")) return [];
  const helper = args.some((word, index) => word === "-netdev" && runsHelper(args[index + 1] ?? ""));
  const elevate = helper && user !== undefined ? "allow" : "deny";
  const spawn = helper ? "allow" : "deny";
  return ["-sandbox", `on,obsolete=deny,elevateprivileges=${elevate},spawn=${spawn},resourcecontrol=deny`];
}

/**
 * Changes the owner of files to QEMU's user. Files in `made` are created when they are missing. @throws Error of the
 * file system with the path.
 */
export async function giveTo(
  { uid, gid }: QemuUser,
  { existing, made }: { readonly existing: readonly string[]; readonly made: readonly string[] },
): Promise<void> {
  for (const [paths, flags] of [
    [existing, "r"],
    [made, "a"],
  ] as const)
    for (const path of paths) {
      await using file = await open(path, flags, 0o600);
      await file.chown(uid, gid);
    }
}
