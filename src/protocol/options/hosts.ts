// The options of a migration between hosts, except those of the memory stream, in the order of the command line's
// help: libvirt's flags (libvirt-domain.h, virDomainMigrateFlags) and typed parameters (VIR_MIGRATE_PARAM_*), and
// their rules (libvirt's src/qemu/qemu_migration.c; VIR_EXCLUSIVE_FLAGS in src/libvirt-domain.c).

import { file, list, type MigrationOption, onOff, text, whole } from "./row.js";

const definition = { none: "an embedder's guests have no definitions" } as const;
const oneProcess = { none: "both sides run in one process" } as const;
const ownSocket = {
  none: "both sides are on one machine, and the disk mirrors use a private socket",
} as const;

export const hostOptions = {
  live: {
    type: onOff,
    called: "a live migration",
    virsh: { option: "--live", note: "without it only a guest that is paused is migrated" },
    libvirt: { flag: "LIVE", bit: 1 << 0 },
    local: { none: "always: a running guest is migrated live" },
  },
  peerToPeer: {
    type: onOff,
    cli: {
      words: "--p2p",
      help: "between hosts: the source host controls the migration and connects to --to itself; this command may exit meanwhile",
    },
    virsh: { option: "--p2p" },
    libvirt: { flag: "PEER2PEER", bit: 1 << 1, sourceOnly: true },
    local: oneProcess,
  },
  tunnelled: {
    type: onOff,
    cli: { words: "--tunnelled", help: "with --p2p: send the memory stream through that connection" },
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
        why: "a tunnelled migration has no migration URI and no listen address",
        code: "ARGUMENT_UNSUPPORTED",
      },
      {
        option: "listenAddress",
        why: "a tunnelled migration has no migration URI and no listen address",
        code: "ARGUMENT_UNSUPPORTED",
      },
      { option: "disksPort", why: "a tunnelled migration does not copy disks", code: "ARGUMENT_UNSUPPORTED" },
      { option: "disksUri", why: "a tunnelled migration does not copy disks", code: "ARGUMENT_UNSUPPORTED" },
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
        why: "a tunnel is as secure as its connection: use a TLS URI instead of TLS",
        code: "ARGUMENT_UNSUPPORTED",
      },
    ],
    local: oneProcess,
  },
  offline: {
    type: onOff,
    cli: { words: "--offline", help: "between hosts: migrate only its definition; needs --persistent" },
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
      help: "between hosts: copy its disks; missing images are created at the destination",
    },
    virsh: {
      option: "--copy-storage-all",
      note: "missing images are created at the destination, and removed again when the migration fails",
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
      help: "copy only the layers above the backing files that both hosts have",
    },
    virsh: {
      option: "--copy-storage-inc",
      note: "between two switchoverds missing images are created as well, over the same backing file",
    },
    libvirt: { flag: "NON_SHARED_INC", bit: 1 << 7 },
    excludes: [
      { option: "offline", why: "an offline migration copies no storage", code: "OPERATION_INVALID" },
    ],
    local: "storage.incremental",
  },
  synchronousWrites: {
    type: onOff,
    cli: {
      words: "--copy-storage-synchronous-writes",
      help: "each guest write completes only when it is mirrored",
    },
    virsh: { option: "--copy-storage-synchronous-writes" },
    libvirt: { flag: "NON_SHARED_SYNCHRONOUS_WRITES", bit: 1 << 18 },
    needs: [
      {
        option: "copyStorageAll",
        orOption: "copyStorageIncremental",
        why: "synchronous writes apply only to storage that is copied",
      },
    ],
    local: "storage.synchronousWrites",
  },
  disks: {
    type: list,
    cli: { words: "--migrate-disks <targets>", help: "which disks are copied, such as vda,vdb" },
    virsh: {
      option: "--migrate-disks",
      note: "default: the writable disks that are not shareable",
    },
    libvirt: { parameter: "migrate_disks", type: "string", as: "disks" },
    needs: [
      {
        option: "copyStorageAll",
        orOption: "copyStorageIncremental",
        why: "disks can be chosen only when storage is copied",
        code: "OPERATION_UNSUPPORTED",
      },
    ],
    local: "storage.disks",
  },
  disksPort: {
    type: whole(0, 65_535),
    cli: { words: "--disks-port <port>", help: "port of the destination's NBD server for the disk mirrors" },
    virsh: { option: "--disks-port" },
    libvirt: { parameter: "disks_port", type: "int", as: "disksPort" },
    excludes: [
      {
        option: "disksUri",
        why: "the destination of the disks is given by a port or by a URI, not by both",
      },
    ],
    local: ownSocket,
  },
  disksUri: {
    type: text,
    cli: {
      words: "--disks-uri <uri>",
      help: "address of the destination's NBD server: tcp://host[:port] or unix:///path",
    },
    virsh: { option: "--disks-uri", note: "tcp://host[:port] or unix:///path" },
    libvirt: { parameter: "disks_uri", type: "string", as: "disksUri" },
    local: ownSocket,
  },
  unsafe: {
    type: onOff,
    cli: { words: "--unsafe", help: "between hosts: migrate even if disk consistency cannot be verified" },
    virsh: { option: "--unsafe" },
    libvirt: { flag: "UNSAFE", bit: 1 << 9 },
    local: { none: "the embedder is responsible for the storage that its two QEMUs share" },
  },
  abortOnError: {
    type: onOff,
    cli: {
      words: "--abort-on-error",
      help: "between hosts: abort when a disk I/O error stops the guest",
    },
    virsh: {
      option: "--abort-on-error",
      note: "when the error stops the guest, according to its disk's error_policy",
    },
    libvirt: { flag: "ABORT_ON_ERROR", bit: 1 << 12, sourceOnly: true },
    local: "abortOnError",
  },
  persistent: {
    type: onOff,
    cli: { words: "--persistent", help: "between hosts: make it persistent at the destination" },
    virsh: { option: "--persistent" },
    libvirt: { flag: "PERSIST_DEST", bit: 1 << 3 },
    local: definition,
  },
  persistentXml: {
    type: file,
    cli: {
      words: "--persistent-xml <file>",
      help: "between hosts: the persistent definition at the destination, if it differs",
    },
    virsh: { option: "--persistent-xml", note: "for --persistent" },
    libvirt: { parameter: "persistent_xml", type: "string", as: "persistentXml" },
    local: definition,
  },
  undefineSource: {
    type: onOff,
    cli: { words: "--undefine-source", help: "between hosts: undefine it at the source" },
    virsh: { option: "--undefinesource" },
    libvirt: { flag: "UNDEFINE_SOURCE", bit: 1 << 4 },
    local: definition,
  },
  paused: {
    type: onOff,
    cli: { words: "--suspend", help: "between hosts: leave it suspended at the destination" },
    virsh: { option: "--suspend" },
    libvirt: { flag: "PAUSED", bit: 1 << 5 },
    local: { none: "suspend the guest first: it stays suspended" },
  },
  uri: {
    type: text,
    cli: {
      words: "--migrate-uri <uri>",
      help: "between hosts: destination of the memory stream, such as tcp://10.0.0.2:49152",
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
      help: "between hosts: address at which the destination's QEMU listens for the memory stream",
    },
    virsh: { option: "--listen-address" },
    libvirt: { parameter: "listen_address", type: "string", as: "listenAddress" },
    local: { none: "loopback only" },
  },
  name: {
    type: text,
    cli: { words: "--destination-name <name>", help: "between hosts: new name at the destination" },
    virsh: { option: "--dname" },
    libvirt: {
      parameter: "destination_name",
      type: "string",
      as: "name",
      fixedForms: ["version 2", "version 3"],
    },
    local: { none: "the destination's guest has the same name" },
  },
  xml: {
    type: file,
    cli: {
      words: "--xml <file>",
      help: "between hosts: its XML at the destination, for different host-side paths",
    },
    virsh: { option: "--xml" },
    libvirt: { parameter: "destination_xml", type: "string", as: "xml", fixedForms: ["version 3"] },
    local: "destination.args",
  },
  /** In MiB/s; 0 for no limit. The command line's option is among the limits, which have defaults. */
  bandwidth: {
    type: whole(0, Number.MAX_SAFE_INTEGER),
    virsh: { option: "--bandwidth", note: "for the memory and for each disk, in MiB/s; 0 for no limit" },
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
    local: { none: "only the embedder changes its guests" },
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
      refused: "the hosts reconnect a post-copy that lost its connection themselves",
    },
    libvirt: { flag: "POSTCOPY_RESUME", bit: 1 << 19 },
    local: { none: "always: a connection lost in post-copy is re-established" },
  },
  graphicsUri: {
    type: text,
    virsh: {
      option: "--graphicsuri",
      refused: "graphics connections are not migrated: clients must reconnect",
    },
    libvirt: { parameter: "graphics_uri", type: "string" },
    local: "graphics",
  },
  /** Within one machine the stream uses a unix socket, unless `transport` is tcp. */
  "transport.unix": { type: onOff, called: "the transport unix", local: "transport" },
} as const satisfies Readonly<Record<string, MigrationOption>>;
