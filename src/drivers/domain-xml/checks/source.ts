// Blockers at the source: what ties the guest to its host, and disks that another host cannot read, or not reliably.

import { cacheMode } from "../qemu-args/block-nodes.js";
import type { Disk } from "../schema/disk.js";
import type { DomainModel } from "../schema/domain.js";
import { placeIn } from "../xml/read.js";
import type { Incompatibility, IncompatibilityCode, Move } from "./incompatibility.js";

export function departure(model: DomainModel, move: Move): Incompatibility[] {
  const disks = move.sameHost === true ? [] : model.devices.disks;
  return [...cpuReasons(model), ...disks.flatMap((disk) => diskReasons(disk, move))];
}

const atSource = (
  code: IncompatibilityCode,
  part: object,
  key: string | undefined,
  what: string,
  next: string,
): Incompatibility => {
  const { path, line, column } = placeIn(part, key);
  return { code, path, source: { line, column }, destination: undefined, what, next };
};

function cpuReasons({ cpu }: DomainModel): Incompatibility[] {
  if (cpu === undefined) return [];
  const fixed = cpu.features.filter(
    ({ name, policy }) => name === "invtsc" && (policy === "require" || policy === "force"),
  );
  const why = "an invariant time stamp counter may run at another rate on the other host";
  const reasons = fixed.map((device) =>
    atSource("cpu-unmigratable", device, undefined, why, "remove the feature"),
  );
  if (cpu.mode !== "host-passthrough" || cpu.migratable !== false) return reasons;
  return [
    ...reasons,
    atSource(
      "cpu-unmigratable",
      cpu,
      "migratable",
      "the CPU has features that cannot be migrated",
      'use migratable="on"',
    ),
  ];
}

/** An empty, read-only or mirrored disk is safe to migrate with any cache mode. */
function diskReasons(disk: Disk, { sourceHost, copiedDisks = [] }: Move): Incompatibility[] {
  const { source, readonly, device, target } = disk;
  if (source === undefined || readonly || device === "cdrom" || copiedDisks.includes(target.dev)) return [];
  const path = disk.type === "file" ? disk.source?.file : undefined;
  const storage = path === undefined ? undefined : sourceHost?.paths[path]?.storage;
  if (storage === "local") {
    const next = "put the disk on storage that both hosts share, or migrate it with the guest (disk mirror)";
    return [
      atSource(
        "disk-local",
        source,
        "file",
        `${path} is on a file system that only this host can reach`,
        next,
      ),
    ];
  }
  const mode = cacheMode(disk);
  if (storage === "cluster" || mode === "none" || mode === "directsync") return [];
  const what = `this host caches the disk (${mode ?? "QEMU's default, writeback"}), and the other host would not see cached writes`;
  const next = 'use cache="none" or "directsync", or migrate the disk with the guest (disk mirror)';
  return [atSource("disk-unsafe", disk.driver ?? disk, disk.driver && "cache", what, next)];
}
