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

const compression = "compression of the memory stream is not supported";
const autoConverge = "auto-convergence is not supported";
const resumed = "a post-copy that has lost its connection is connected again by the hosts themselves";
const parallel = "parallel connections are not supported";
const tls = "TLS of the memory stream is not supported";

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
  "--compressed": { flag: "COMPRESSED", refused: compression },
  "--auto-converge": { flag: "AUTO_CONVERGE", refused: autoConverge },
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
  "--zerocopy": { flag: "ZEROCOPY", refused: "zero-copy is not supported" },
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
  "--comp-methods": { parameter: "compression", refused: compression },
  "--comp-mt-level": { parameter: "compression.mt.level", refused: compression },
  "--comp-mt-threads": { parameter: "compression.mt.threads", refused: compression },
  "--comp-mt-dthreads": { parameter: "compression.mt.dthreads", refused: compression },
  "--comp-zlib-level": { parameter: "compression.zlib.level", refused: compression },
  "--comp-zstd-level": { parameter: "compression.zstd.level", refused: compression },
  "--comp-xbzrle-cache": { parameter: "compression.xbzrle.cache", refused: compression },
  "--auto-converge-initial": { parameter: "auto_converge.initial", refused: autoConverge },
  "--auto-converge-increment": { parameter: "auto_converge.increment", refused: autoConverge },
  "--persistent-xml": { parameter: "persistent_xml", note: "for --persistent" },
  "--tls": { flag: "TLS", refused: tls },
  "--postcopy-bandwidth": {
    parameter: "bandwidth.postcopy",
    refused: "a guest in post-copy waits for its memory: it is sent as fast as it can be",
  },
  "--parallel": { flag: "PARALLEL", refused: parallel },
  "--parallel-connections": { parameter: "parallel.connections", refused: parallel },
  "--bandwidth": { parameter: "bandwidth", note: "of the memory and of each disk, in MiB/s; 0 for no limit" },
  "--tls-destination": { parameter: "tls.destination", refused: tls },
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
