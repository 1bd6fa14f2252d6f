// Every option of `virsh migrate` (9.4), what it becomes on the wire, and why it is refused when it is: the one table of
// what a migration here supports. Printed to docs/virsh.md.

import type { MigrateFlag } from "./flags.js";

/** What virsh makes of an option: a flag, a typed parameter, or something that it does itself. */
type Becomes = { readonly flag: MigrateFlag } | { readonly parameter: string } | { readonly virsh: string };

export type VirshOption = Becomes & {
  /** Absent: it is supported. */
  readonly refused?: string;
  /** What there is to know beside libvirt's own manual. */
  readonly note?: string;
};

const resumed = "a post-copy that has lost its connection is connected again by the hosts themselves";

export const virshOptions = {
  "--domain": { virsh: "looks the domain up at the source" },
  "--desturi": { virsh: "connects to the destination", note: "with --p2p it must name a host" },
  "--live": { flag: "LIVE", note: "without it only a guest that is paused is migrated" },
  "--offline": { flag: "OFFLINE", note: "needs --persistent" },
  "--p2p": { flag: "PEER2PEER" },
  "--direct": {
    virsh: "asks the source for a migration without a libvirt at the destination",
    refused: "QEMU has no direct migration, with libvirt either; virsh refuses it itself",
  },
  "--tunnelled": { flag: "TUNNELLED", note: "with --p2p, between two switchoverds" },
  "--persistent": { flag: "PERSIST_DEST" },
  "--undefinesource": { flag: "UNDEFINE_SOURCE" },
  "--suspend": { flag: "PAUSED" },
  "--copy-storage-all": {
    flag: "NON_SHARED_DISK",
    note: "images that are missing at the destination are made, and removed again when the guest does not arrive",
  },
  "--copy-storage-inc": {
    flag: "NON_SHARED_INC",
    note: "between two switchoverds missing images are made here too, over the same backing file",
  },
  "--copy-storage-synchronous-writes": { flag: "NON_SHARED_SYNCHRONOUS_WRITES" },
  "--change-protection": { flag: "CHANGE_PROTECTION", note: "always on" },
  "--unsafe": { flag: "UNSAFE" },
  "--verbose": { virsh: "asks for the job's progress" },
  "--compressed": { flag: "COMPRESSED", note: "by xbzrle, if no method is named" },
  "--auto-converge": { flag: "AUTO_CONVERGE" },
  "--rdma-pin-all": { flag: "RDMA_PIN_ALL", refused: "RDMA is not supported" },
  "--abort-on-error": {
    flag: "ABORT_ON_ERROR",
    note: "on one that stops the guest, by its disk's error_policy",
  },
  "--postcopy": {
    flag: "POSTCOPY",
    note: "between two switchoverds; from then on the guest is lost with either host",
  },
  "--postcopy-after-precopy": {
    virsh: "switches to post-copy after the first pass; needs --postcopy",
  },
  "--postcopy-resume": { flag: "POSTCOPY_RESUME", refused: resumed },
  "--zerocopy": { flag: "ZEROCOPY", note: "needs --parallel" },
  "--migrateuri": { parameter: "migrate_uri", note: "tcp:host[:port]" },
  "--graphicsuri": {
    parameter: "graphics_uri",
    refused: "graphics do not move: their clients have to connect anew",
  },
  "--listen-address": { parameter: "listen_address" },
  "--dname": { parameter: "destination_name" },
  "--timeout": {
    virsh: "suspends the guest at the source when the time is over",
    note: "it runs on at the destination",
  },
  "--timeout-suspend": { virsh: "as --timeout alone" },
  "--timeout-postcopy": {
    virsh: "switches to post-copy when the time is over; needs --postcopy",
  },
  "--xml": { parameter: "destination_xml" },
  "--migrate-disks": {
    parameter: "migrate_disks",
    note: "default: those that are written to, and are not shareable",
  },
  "--disks-port": { parameter: "disks_port" },
  "--disks-uri": { parameter: "disks_uri", note: "tcp://host[:port] or unix:///path" },
  "--comp-methods": {
    parameter: "compression",
    note: "xbzrle and mt without --parallel, zlib or zstd with it; QEMU has dropped mt in 9.1",
  },
  "--comp-mt-level": { parameter: "compression.mt.level" },
  "--comp-mt-threads": { parameter: "compression.mt.threads" },
  "--comp-mt-dthreads": { parameter: "compression.mt.dthreads" },
  "--comp-zlib-level": { parameter: "compression.zlib.level" },
  "--comp-zstd-level": { parameter: "compression.zstd.level" },
  "--comp-xbzrle-cache": { parameter: "compression.xbzrle.cache" },
  "--auto-converge-initial": { parameter: "auto_converge.initial" },
  "--auto-converge-increment": { parameter: "auto_converge.increment" },
  "--persistent-xml": { parameter: "persistent_xml", note: "for --persistent" },
  "--tls": { flag: "TLS", note: "of the memory and the disks, by the certificates of `migration.tls`" },
  "--postcopy-bandwidth": {
    parameter: "bandwidth.postcopy",
    note: "of what the guest has not asked for, in MiB/s; 0 for no limit",
  },
  "--parallel": { flag: "PARALLEL", note: "straight there, without the relay" },
  "--parallel-connections": { parameter: "parallel.connections", note: "default: 2" },
  "--bandwidth": { parameter: "bandwidth", note: "of the memory and of each disk, in MiB/s; 0 for no limit" },
  "--tls-destination": {
    parameter: "tls.destination",
    note: "default: the host of the migration URI",
  },
} as const satisfies Record<`--${string}`, VirshOption>;

const rows: readonly VirshOption[] = Object.values(virshOptions);

export const refusedFlags: ReadonlyMap<MigrateFlag, string> = new Map(
  rows.flatMap((it) => ("flag" in it && it.refused !== undefined ? [[it.flag, it.refused] as const] : [])),
);

/** By the field's name. */
export const refusedParameters: ReadonlyMap<string, string> = new Map(
  rows.flatMap((it) =>
    "parameter" in it && it.refused !== undefined ? [[it.parameter, it.refused] as const] : [],
  ),
);
