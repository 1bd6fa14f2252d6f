// The options of the memory stream, in the order of the command line's help. Bounds are QEMU's (migrate_params_check in its
// migration/options.c; 7.2 does not check the levels of zlib and zstd), the rest is libvirt's (its qemu_migration_params.c).

import {
  choice,
  group,
  type MigrationOption,
  mebibytesPerSecond,
  members,
  onOff,
  powerOfTwo,
  text,
  whole,
} from "./row.js";

/** The object of QEMU that holds the credentials of a migration. */
export const tlsId = "switchover-migration-tls";

export const defaultTlsCredentials = "/etc/pki/qemu";

export const memoryOptions = {
  /** Several connections at once (QEMU: multifd). */
  parallel: {
    type: group,
    cli: { words: "--parallel", help: "several connections at once (QEMU's multifd)" },
    virsh: { option: "--parallel", note: "straight there, without the relay" },
    libvirt: { flag: "PARALLEL", bit: 1 << 17 },
    qemu: { capability: "multifd", of: "stream" },
  },
  /** Beside the first one, which carries everything but memory; 1 to 255. Default: 2. */
  "parallel.connections": {
    type: whole(1, 255),
    cli: {
      words: "--parallel-connections <n>",
      help: "with --parallel: how many; 2 without it",
    },
    virsh: { option: "--parallel-connections", note: "default: 2" },
    libvirt: { parameter: "parallel.connections", type: "int", as: "parallelConnections" },
    // QEMU's own default, sent because both sides must agree, whatever they were set to before.
    qemu: { parameter: "multifd-channels", default: 2 },
  },
  /** Each method that is there is used. `zlib` or `zstd` with `parallel`, `xbzrle` and `mt` without. */
  compression: {
    type: group,
    needsMember: "compression names no method; name xbzrle, mt, zlib or zstd, or leave it out",
    defaultMember: "compression.xbzrle",
    cli: {
      words: "--compressed",
      help: "compress the memory; with xbzrle, if nothing else is said",
    },
    virsh: { option: "--compressed", note: "by xbzrle, if no method is named" },
    libvirt: { flag: "COMPRESSED", bit: 1 << 11 },
  },
  /** Turns the named methods on. */
  "compression.methods": {
    type: members,
    cli: {
      words: "--comp-methods <list>",
      help: "with --compressed: of xbzrle, mt, zlib, zstd; zlib and zstd with --parallel, the others without",
    },
    virsh: {
      option: "--comp-methods",
      note: "xbzrle and mt without --parallel, zlib or zstd with it; QEMU has dropped mt in 9.1",
    },
    libvirt: { parameter: "compression", type: "string", as: "compression" },
    local: "stream.compression",
  },
  /** Sends what has changed in a page that was sent before. */
  "compression.xbzrle": {
    type: group,
    mayBeLeftOut: true,
    libvirt: { listed: "xbzrle" },
    qemu: { capability: "xbzrle", of: "stream" },
    excludes: [
      {
        option: "parallel",
        why: "compression with xbzrle does not work on parallel connections; take zlib or zstd, or leave parallel out",
      },
    ],
  },
  /** How much of the memory is remembered, in bytes: a power of two, from 4096. */
  "compression.xbzrle.cacheBytes": {
    type: powerOfTwo(4096, 2 ** 40),
    cli: {
      words: "--comp-xbzrle-cache <bytes>",
      help: "with xbzrle: memory of what was sent; a power of two",
    },
    virsh: { option: "--comp-xbzrle-cache" },
    libvirt: { parameter: "compression.xbzrle.cache", type: "ullong", as: "compressionXbzrleCacheBytes" },
    qemu: { parameter: "xbzrle-cache-size", at: "source" },
  },
  /** zlib in threads on one connection; QEMU has dropped it in 9.1. */
  "compression.mt": {
    type: group,
    mayBeLeftOut: true,
    libvirt: { listed: "mt" },
    qemu: { capability: "compress", of: "stream", until: "9.1" },
    excludes: [
      {
        option: "parallel",
        why: "compression with mt does not work on parallel connections; take zlib or zstd, or leave parallel out",
      },
    ],
  },
  /** 0 to 9. */
  "compression.mt.level": {
    type: whole(0, 9),
    cli: { words: "--comp-mt-level <n>", help: "with mt: 0 to 9" },
    virsh: { option: "--comp-mt-level" },
    libvirt: { parameter: "compression.mt.level", type: "int", as: "compressionMtLevel" },
    qemu: { parameter: "compress-level", at: "source" },
  },
  /** 1 to 255. */
  "compression.mt.threads": {
    type: whole(1, 255),
    cli: { words: "--comp-mt-threads <n>", help: "with mt: threads at the source" },
    virsh: { option: "--comp-mt-threads" },
    libvirt: { parameter: "compression.mt.threads", type: "int", as: "compressionMtThreads" },
    qemu: { parameter: "compress-threads", at: "source" },
  },
  /** At the destination; 1 to 255. */
  "compression.mt.decompressThreads": {
    type: whole(1, 255),
    cli: {
      words: "--comp-mt-dthreads <n>",
      help: "with mt: threads at the destination",
    },
    virsh: { option: "--comp-mt-dthreads" },
    libvirt: { parameter: "compression.mt.dthreads", type: "int", as: "compressionMtDecompressThreads" },
    qemu: { parameter: "decompress-threads", at: "destination" },
  },
  "compression.zlib": {
    type: group,
    libvirt: { listed: "zlib" },
    qemu: {
      of: "stream",
      sets: { "multifd-compression": "zlib" },
      clears: { "multifd-compression": "none" },
    },
    needs: [
      {
        option: "parallel",
        why: "compression with zlib works on parallel connections only; add parallel, or take xbzrle or mt",
      },
    ],
    excludes: [
      { option: "compression.zstd", why: "parallel connections have one compression; take zlib or zstd" },
    ],
  },
  /** 0 to 9. */
  "compression.zlib.level": {
    type: whole(0, 9),
    cli: { words: "--comp-zlib-level <n>", help: "with zlib: 0 to 9" },
    virsh: { option: "--comp-zlib-level", since: "9.1" },
    libvirt: { parameter: "compression.zlib.level", type: "int", as: "compressionZlibLevel" },
    qemu: { parameter: "multifd-zlib-level", at: "source" },
  },
  "compression.zstd": {
    type: group,
    libvirt: { listed: "zstd" },
    qemu: {
      of: "stream",
      sets: { "multifd-compression": "zstd" },
      clears: { "multifd-compression": "none" },
    },
    needs: [
      {
        option: "parallel",
        why: "compression with zstd works on parallel connections only; add parallel, or take xbzrle or mt",
      },
    ],
  },
  /** 0 to 20. */
  "compression.zstd.level": {
    type: whole(0, 20),
    cli: { words: "--comp-zstd-level <n>", help: "with zstd: 0 to 20" },
    virsh: { option: "--comp-zstd-level", since: "9.1" },
    libvirt: { parameter: "compression.zstd.level", type: "int", as: "compressionZstdLevel" },
    qemu: { parameter: "multifd-zstd-level", at: "source" },
  },
  /** Slows the guest's processors down, step by step, while its memory changes faster than it is sent. */
  autoConverge: {
    type: group,
    mayBeLeftOut: true,
    cli: {
      words: "--auto-converge",
      help: "slow the guest down while it dirties memory faster than it is sent",
    },
    virsh: { option: "--auto-converge" },
    libvirt: { flag: "AUTO_CONVERGE", bit: 1 << 13, sourceOnly: true },
    qemu: { capability: "auto-converge", of: "source" },
    excludes: [
      {
        option: "dirtyLimit",
        why: "autoConverge and dirtyLimit both slow the guest down, and QEMU does one of them; leave one out",
      },
    ],
  },
  /** Percent of a processor's time that it is kept from running at first; 1 to 99. */
  "autoConverge.initialPercent": {
    type: whole(1, 99),
    atMost: "autoConverge.maxPercent",
    cli: {
      words: "--auto-converge-initial <%>",
      help: "with --auto-converge: how much at first",
    },
    virsh: { option: "--auto-converge-initial" },
    libvirt: { parameter: "auto_converge.initial", type: "int", as: "autoConvergeInitialPercent" },
    qemu: { parameter: "cpu-throttle-initial" },
  },
  "autoConverge.incrementPercent": {
    type: whole(1, 99),
    cli: {
      words: "--auto-converge-increment <%>",
      help: "with --auto-converge: how much more each time",
    },
    virsh: { option: "--auto-converge-increment" },
    libvirt: { parameter: "auto_converge.increment", type: "int", as: "autoConvergeIncrementPercent" },
    qemu: { parameter: "cpu-throttle-increment" },
  },
  "autoConverge.maxPercent": {
    type: whole(1, 99),
    cli: {
      words: "--auto-converge-max <%>",
      help: "with --auto-converge: how much at most",
    },
    qemu: { parameter: "max-cpu-throttle" },
  },
  /** Slows down only the processors that write; not with `autoConverge`. QEMU needs KVM's dirty ring for it. */
  dirtyLimit: {
    type: group,
    mayBeLeftOut: true,
    qemu: { capability: "dirty-limit", of: "source", since: "8.1" },
  },
  /** How fast each processor may dirty memory, in MiB/s, from 1. */
  "dirtyLimit.mibPerSecond": {
    type: whole(1, 8_000_000),
    cli: {
      words: "--dirty-limit <MiB/s>",
      help: "slow down only the processors that dirty more than this",
    },
    qemu: { parameter: "vcpu-dirty-limit" },
  },
  /** How often that is measured, in ms; 1 to 1000. */
  "dirtyLimit.periodMs": {
    type: whole(1, 1000),
    qemu: { parameter: "x-vcpu-dirty-limit-period" },
  },
  /** The source's kernel sends memory without a copy of it. Over tcp with `parallel`, uncompressed, without TLS. */
  zeroCopy: {
    type: onOff,
    mayBeLeftOut: true,
    cli: {
      words: "--zerocopy",
      help: "with --parallel and --transport tcp: the kernel sends without copying",
    },
    virsh: { option: "--zerocopy", note: "needs --parallel" },
    libvirt: { flag: "ZEROCOPY", bit: 1 << 20 },
    qemu: { capability: "zero-copy-send", of: "source" },
    needs: [
      {
        option: "parallel",
        why: "zeroCopy works on parallel connections only; add parallel",
        code: "OPERATION_INVALID",
      },
    ],
    excludes: [
      {
        option: "compression",
        why: "zeroCopy sends memory as it is, and compression does not; leave one out",
      },
      { option: "tls", why: "zeroCopy sends memory as it is, and TLS does not; leave one out" },
      {
        option: "transport.unix",
        why: "zeroCopy works over tcp only: a unix socket always copies; choose the transport tcp",
      },
    ],
  },
  /**
   * The bandwidth that the switchover will have, in MiB/s: QEMU decides by it whether what is left fits into the downtime,
   * instead of by its own estimate, which 0 stands for. It limits nothing.
   */
  switchoverBandwidthMiBps: {
    type: mebibytesPerSecond,
    mayBeLeftOut: true,
    cli: {
      words: "--available-switchover-bandwidth <MiB/s>",
      help: "what the switchover can count on, instead of QEMU's own estimate",
    },
    virsh: {
      option: "--available-switchover-bandwidth",
      note: "in MiB/s; needs QEMU 8.2 at the source; limits nothing",
      since: "11.1",
    },
    libvirt: {
      parameter: "bandwidth.avail.switchover",
      type: "ullong",
      as: "availableSwitchoverBandwidthMiBps",
    },
    qemu: {
      parameter: "avail-switchover-bandwidth",
      of: "source",
      unit: 2 ** 20,
      clears: { "avail-switchover-bandwidth": 0 },
      since: "8.2",
    },
  },
  /** Both QEMUs are made ready for a switch to post-copy; it does not switch. */
  postcopy: {
    type: group,
    cli: {
      words: "--postcopy",
      help: "allow that the guest runs there before its memory has come",
      steered: true,
    },
    virsh: {
      option: "--postcopy",
      note: "between two switchoverds; from then on the guest is lost with either host",
    },
    libvirt: { flag: "POSTCOPY", bit: 1 << 15 },
    qemu: { capability: "postcopy-ram", of: "stream" },
    needs: [
      {
        option: "live",
        why: "post-copy is for a guest that runs, and is to run",
        code: "ARGUMENT_UNSUPPORTED",
      },
    ],
    excludes: [
      {
        option: "paused",
        why: "post-copy is for a guest that runs, and is to run",
        code: "ARGUMENT_UNSUPPORTED",
      },
      { option: "offline", why: "an offline migration moves no memory", code: "ARGUMENT_UNSUPPORTED" },
      { option: "tunnelled", why: "post-copy does not go through a tunnel", code: "ARGUMENT_UNSUPPORTED" },
    ],
  },
  /** The limit of what the destination has not asked for, in MiB/s; 0 for no limit. */
  "postcopy.bandwidthMiBps": {
    type: mebibytesPerSecond,
    cli: {
      words: "--postcopy-bandwidth <MiB/s>",
      help: "with --postcopy: limit of what was not asked for",
      steered: true,
    },
    virsh: {
      option: "--postcopy-bandwidth",
      note: "of what the guest has not asked for, in MiB/s; 0 for no limit",
    },
    libvirt: {
      parameter: "bandwidth.postcopy",
      type: "ullong",
      as: "postcopyBandwidthMiBps",
      ignoredAlone: true,
    },
    qemu: { parameter: "max-postcopy-bandwidth", at: "source", unit: 2 ** 20 },
  },
  /** What the destination asks for travels on a connection of its own. */
  "postcopy.preempt": {
    type: onOff,
    mayBeLeftOut: true,
    cli: {
      words: "--postcopy-preempt",
      help: "with --postcopy: what is asked for has a connection of its own",
    },
    qemu: { capability: "postcopy-preempt", of: "stream" },
  },
  /** Of the memory stream and of the disks'. Certificates by libvirt's conventions for QEMU, each side from a directory of its own host. */
  tls: {
    type: group,
    cli: { words: "--tls", help: "encrypt the stream, with QEMU's certificates" },
    virsh: { option: "--tls", note: "of the memory and the disks, by the certificates of `migration.tls`" },
    libvirt: { flag: "TLS", bit: 1 << 16 },
    // Never tls-authz: QEMU shows an absent one as "", and looks for an object of that name when it is set to that.
    qemu: { of: "stream", sets: { "tls-creds": tlsId }, clears: { "tls-creds": "", "tls-hostname": "" } },
    needs: [
      {
        option: "tls.hostname",
        onlyWith: "transport.unix",
        why: "tls over a unix socket needs tls.hostname: there is no host that the destination's certificate could be compared with",
      },
    ],
  },
  /** The name that the destination's certificate must bear. Default: the host of the stream's address. */
  "tls.hostname": {
    type: text,
    cli: {
      words: "--tls-destination <name>",
      help: "with --tls: the name in the destination's certificate",
    },
    virsh: { option: "--tls-destination", note: "default: the host of the migration URI" },
    libvirt: { parameter: "tls.destination", type: "string", as: "tlsDestination", ignoredAlone: true },
    qemu: { parameter: "tls-hostname", at: "source", defaultsToHost: true },
  },
  /** Default: `/etc/pki/qemu`. */
  "tls.credentials": {
    type: text,
    cli: {
      words: "--tls-credentials <directory>",
      help: `with --tls: where the certificates lie; ${defaultTlsCredentials} without it`,
    },
  },
  /** Whether the destination wants a certificate of the source; the source always wants one. Default: true. */
  "tls.verifyPeer": {
    type: choice,
    cli: {
      words: "--no-tls-verify",
      help: "with --tls: the destination asks for no certificate",
    },
  },
  /** GnuTLS' priority string. Default: QEMU's own. */
  "tls.priority": { type: text },
} as const satisfies Readonly<Record<string, MigrationOption>>;
