// The options of a migration between hosts beside the memory stream's, in the order of the command line's help: libvirt's
// flags (libvirt-domain.h, virDomainMigrateFlags) and typed parameters (VIR_MIGRATE_PARAM_*), and their rules
// (libvirt's src/qemu/qemu_migration.c; VIR_EXCLUSIVE_FLAGS in src/libvirt-domain.c).

import { file, list, type MigrationOption, onOff, text, whole } from "./row.js";

const definition = { none: "an embedder's guests have no definitions" } as const;
const oneProcess = { none: "there is one process for both sides" } as const;
const ownSocket = {
  none: "both sides are on one machine, and the copies go over a socket of the migration's own",
} as const;

export const hostOptions = {
  live: {
    type: onOff,
    called: "a live migration",
    virsh: { option: "--live", note: "without it only a guest that is paused is migrated" },
    libvirt: { flag: "LIVE", bit: 1 << 0 },
    local: { none: "always: a guest that runs is moved while it runs" },
  },
  peerToPeer: {
    type: onOff,
    cli: {
      words: "--p2p",
      help: "between hosts: the source's host leads, and connects to --to itself; this command may go meanwhile",
    },
    virsh: { option: "--p2p" },
    libvirt: { flag: "PEER2PEER", bit: 1 << 1, sourceOnly: true },
    local: oneProcess,
  },
  tunnelled: {
    type: onOff,
    cli: { words: "--tunnelled", help: "with --p2p: the memory stream travels within that connection" },
    virsh: { option: "--tunnelled", note: "with --p2p, between two switchoverds" },
    libvirt: { flag: "TUNNELLED", bit: 1 << 2 },
    needs: [
      {
        option: "peerToPeer",
        why: "a tunnelled migration has to be peer-to-peer",
        code: "OPERATION_INVALID",
      },
    ],
    excludes: [
      {
        option: "offline",
        why: "an offline migration has nothing to tunnel",
        code: "OPERATION_INVALID",
      },
      {
        option: "uri",
        why: "a tunnel has no migration URI and no listen address",
        code: "ARGUMENT_UNSUPPORTED",
      },
      {
        option: "listenAddress",
        why: "a tunnel has no migration URI and no listen address",
        code: "ARGUMENT_UNSUPPORTED",
      },
      { option: "disksPort", why: "a tunnel has no place for disks", code: "ARGUMENT_UNSUPPORTED" },
      { option: "disksUri", why: "a tunnel has no place for disks", code: "ARGUMENT_UNSUPPORTED" },
      {
        option: "copyStorageAll",
        why: "storage is copied over a connection of its own, not through a tunnel",
        code: "OPERATION_UNSUPPORTED",
      },
      {
        option: "copyStorageIncremental",
        why: "storage is copied over a connection of its own, not through a tunnel",
        code: "OPERATION_UNSUPPORTED",
      },
      {
        option: "parallel",
        why: "a tunnel carries one connection, and PARALLEL has several",
        byClient: true,
      },
      {
        option: "tls",
        why: "a tunnel is as safe as its connection: take a TLS URI instead of TLS",
        code: "ARGUMENT_UNSUPPORTED",
      },
    ],
    local: oneProcess,
  },
  offline: {
    type: onOff,
    cli: { words: "--offline", help: "between hosts: move its definition alone; needs --persistent" },
    virsh: { option: "--offline", note: "needs --persistent" },
    libvirt: { flag: "OFFLINE", bit: 1 << 10 },
    needs: [
      {
        option: "persistent",
        why: "offline migration must be specified with the persistent flag set",
        code: "OPERATION_INVALID",
      },
    ],
    local: definition,
  },
  copyStorageAll: {
    type: onOff,
    cli: {
      words: "--copy-storage-all",
      help: "between hosts: copy its disks; images that are missing there are made",
    },
    virsh: {
      option: "--copy-storage-all",
      note: "images that are missing at the destination are made, and removed again when the guest does not arrive",
    },
    libvirt: { flag: "NON_SHARED_DISK", bit: 1 << 6 },
    excludes: [
      {
        option: "copyStorageIncremental",
        why: "storage is copied either in full or incrementally",
        byClient: true,
      },
      { option: "offline", why: "an offline migration copies no storage", code: "OPERATION_INVALID" },
    ],
    local: "storage",
  },
  copyStorageIncremental: {
    type: onOff,
    cli: {
      words: "--copy-storage-inc",
      help: "the same, of what lies above backing files that both hosts have",
    },
    virsh: {
      option: "--copy-storage-inc",
      note: "between two switchoverds missing images are made here too, over the same backing file",
    },
    libvirt: { flag: "NON_SHARED_INC", bit: 1 << 7 },
    excludes: [
      { option: "offline", why: "an offline migration copies no storage", code: "OPERATION_INVALID" },
    ],
    local: "storage.incremental",
  },
  synchronousWrites: {
    type: onOff,
    cli: { words: "--copy-storage-synchronous-writes", help: "the guest's writes wait for their copies" },
    virsh: { option: "--copy-storage-synchronous-writes" },
    libvirt: { flag: "NON_SHARED_SYNCHRONOUS_WRITES", bit: 1 << 18 },
    needs: [
      {
        option: "copyStorageAll",
        orOption: "copyStorageIncremental",
        why: "synchronous writes are for storage that is copied",
      },
    ],
    local: "storage.synchronousWrites",
  },
  disks: {
    type: list,
    cli: { words: "--migrate-disks <targets>", help: "which disks are copied, such as vda,vdb" },
    virsh: {
      option: "--migrate-disks",
      note: "default: those that are written to, and are not shareable",
    },
    libvirt: { parameter: "migrate_disks", type: "string", as: "disks" },
    needs: [
      {
        option: "copyStorageAll",
        orOption: "copyStorageIncremental",
        why: "disks are chosen only where storage is copied",
        code: "OPERATION_UNSUPPORTED",
      },
    ],
    local: "storage.disks",
  },
  disksPort: {
    type: whole(0, 65_535),
    cli: { words: "--disks-port <port>", help: "where the destination takes the copies" },
    virsh: { option: "--disks-port" },
    libvirt: { parameter: "disks_port", type: "int", as: "disksPort" },
    excludes: [
      {
        option: "disksUri",
        why: "the place for the disks is given by a port or by a URI, not by both",
      },
    ],
    local: ownSocket,
  },
  disksUri: {
    type: text,
    cli: { words: "--disks-uri <uri>", help: "the same: tcp://host[:port] or unix:///path" },
    virsh: { option: "--disks-uri", note: "tcp://host[:port] or unix:///path" },
    libvirt: { parameter: "disks_uri", type: "string", as: "disksUri" },
    local: ownSocket,
  },
  unsafe: {
    type: onOff,
    cli: { words: "--unsafe", help: "between hosts: also when a disk may not be the same there" },
    virsh: { option: "--unsafe" },
    libvirt: { flag: "UNSAFE", bit: 1 << 9 },
    local: { none: "an embedder answers for what its two QEMUs share" },
  },
  abortOnError: {
    type: onOff,
    cli: {
      words: "--abort-on-error",
      help: "between hosts: give up when an I/O error of a disk stops the guest",
    },
    virsh: {
      option: "--abort-on-error",
      note: "on one that stops the guest, by its disk's error_policy",
    },
    libvirt: { flag: "ABORT_ON_ERROR", bit: 1 << 12, sourceOnly: true },
    local: "abortOnError",
  },
  persistent: {
    type: onOff,
    cli: { words: "--persistent", help: "between hosts: keep its definition at the destination" },
    virsh: { option: "--persistent" },
    libvirt: { flag: "PERSIST_DEST", bit: 1 << 3 },
    local: definition,
  },
  persistentXml: {
    type: file,
    cli: {
      words: "--persistent-xml <file>",
      help: "between hosts: the definition to keep, when it is another one",
    },
    virsh: { option: "--persistent-xml", note: "for --persistent" },
    libvirt: { parameter: "persistent_xml", type: "string", as: "persistentXml" },
    local: definition,
  },
  undefineSource: {
    type: onOff,
    cli: { words: "--undefine-source", help: "between hosts: remove its definition at the source" },
    virsh: { option: "--undefinesource" },
    libvirt: { flag: "UNDEFINE_SOURCE", bit: 1 << 4 },
    local: definition,
  },
  paused: {
    type: onOff,
    cli: { words: "--suspend", help: "between hosts: leave it paused at the destination" },
    virsh: { option: "--suspend" },
    libvirt: { flag: "PAUSED", bit: 1 << 5 },
    local: { none: "pause it before: it stays so" },
  },
  uri: {
    type: text,
    cli: {
      words: "--migrate-uri <uri>",
      help: "between hosts: where the memory stream goes, such as tcp://10.0.0.2:49152",
    },
    virsh: { option: "--migrateuri", note: "tcp:host[:port]" },
    libvirt: {
      parameter: "migrate_uri",
      type: "string",
      as: "uri",
      fixedForms: ["version 2", "version 3"],
    },
    local: "transport",
  },
  listenAddress: {
    type: text,
    cli: {
      words: "--listen-address <address>",
      help: "between hosts: where the destination's QEMU listens for it",
    },
    virsh: { option: "--listen-address" },
    libvirt: { parameter: "listen_address", type: "string", as: "listenAddress" },
    local: { none: "loopback alone" },
  },
  name: {
    type: text,
    cli: { words: "--destination-name <name>", help: "between hosts: its name at the destination" },
    virsh: { option: "--dname" },
    libvirt: {
      parameter: "destination_name",
      type: "string",
      as: "name",
      fixedForms: ["version 2", "version 3"],
    },
    local: { none: "the twin has the guest's name" },
  },
  xml: {
    type: file,
    cli: {
      words: "--xml <file>",
      help: "between hosts: its XML at the destination, with other host-side paths",
    },
    virsh: { option: "--xml" },
    libvirt: { parameter: "destination_xml", type: "string", as: "xml", fixedForms: ["version 3"] },
    local: "destination.args",
  },
  /** In MiB/s; 0 for no limit. Its option of the command line is among the limits, which have defaults. */
  bandwidth: {
    type: whole(0, Number.MAX_SAFE_INTEGER),
    virsh: { option: "--bandwidth", note: "of the memory and of each disk, in MiB/s; 0 for no limit" },
    libvirt: {
      parameter: "bandwidth",
      type: "ullong",
      as: "bandwidthMiBps",
      fixedForms: ["version 2", "version 3"],
    },
    local: "limits.bandwidthMiBps",
  },
  changeProtection: {
    type: onOff,
    virsh: { option: "--change-protection", note: "always on" },
    libvirt: { flag: "CHANGE_PROTECTION", bit: 1 << 8, sourceOnly: true },
    local: { none: "nobody but the embedder changes its guests" },
  },
  rdmaPinAll: {
    type: onOff,
    virsh: { option: "--rdma-pin-all", refused: "RDMA is not supported" },
    libvirt: { flag: "RDMA_PIN_ALL", bit: 1 << 14 },
    local: { none: "RDMA is not supported" },
  },
  postcopyResume: {
    type: onOff,
    virsh: {
      option: "--postcopy-resume",
      refused: "a post-copy that has lost its connection is connected again by the hosts themselves",
    },
    libvirt: { flag: "POSTCOPY_RESUME", bit: 1 << 19 },
    local: { none: "always: a connection that is lost in post-copy is made anew" },
  },
  graphicsUri: {
    type: text,
    virsh: {
      option: "--graphicsuri",
      refused: "graphics do not move: their clients have to connect anew",
    },
    libvirt: { parameter: "graphics_uri", type: "string" },
    local: "graphics",
  },
  /** Within one machine: the stream travels over a unix socket, as it does unless `transport` is tcp. */
  "transport.unix": { type: onOff, called: "the transport unix", local: "transport" },
} as const satisfies Readonly<Record<string, MigrationOption>>;
