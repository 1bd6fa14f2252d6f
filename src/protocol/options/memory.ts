// The options of the memory stream, in the order of the command line's help. Bounds are QEMU's (migrate_params_check
// in its migration/options.c; 7.2 does not check the levels of zlib and zstd); the rest is libvirt's (its
// qemu_migration_params.c).

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

/** Id of the QEMU object that holds the migration's TLS credentials. */
export const tlsId = "switchover-migration-tls";

export const defaultTlsCredentials = "/etc/pki/qemu";

export const memoryOptions = {
  /** Several connections at once (QEMU: multifd). */
  parallel: {
    type: group,
    cli: { words: "--parallel", help: "several connections at once (QEMU's multifd)" },
    virsh: { option: "--parallel", note: "connects directly, without the relay" },
    libvirt: { flag: "PARALLEL", bit: 1 << 17 },
    qemu: { capability: "multifd", of: "stream" },
  },
  /** In addition to the main channel, which carries everything except memory; 1 to 255. Default: 2. */
  "parallel.connections": {
    type: whole(1, 255),
    cli: {
      words: "--parallel-connections <n>",
      help: "with --parallel: number of connections (default: 2)",
    },
    virsh: { option: "--parallel-connections", note: "default: 2" },
    libvirt: { parameter: "parallel.connections", type: "int", as: "parallelConnections" },
    // QEMU's own default, sent because both sides must agree, whatever their previous values were.
    qemu: { parameter: "multifd-channels", default: 2 },
  },
  /** Every method that is present is used. `zlib` or `zstd` with `parallel`, `xbzrle` and `mt` without. */
  compression: {
    type: group,
    needsMember: "compression has no method; name xbzrle, mt, zlib or zstd, or leave compression out",
    defaultMember: "compression.xbzrle",
    cli: {
      words: "--compressed",
      help: "compress the memory (default method: xbzrle)",
    },
    virsh: { option: "--compressed", note: "by xbzrle if no method is given" },
    libvirt: { flag: "COMPRESSED", bit: 1 << 11 },
  },
  /** Turns the named methods on. */
  "compression.methods": {
    type: members,
    cli: {
      words: "--comp-methods <list>",
      help: "with --compressed: any of xbzrle, mt, zlib, zstd; zlib and zstd with --parallel, the others without",
    },
    virsh: {
      option: "--comp-methods",
      note: "xbzrle and mt without --parallel, zlib or zstd with it; QEMU dropped mt in 9.1",
    },
    libvirt: { parameter: "compression", type: "string", as: "compression" },
    local: "stream.compression",
  },
  /** Sends only the differences to a page that was sent before. */
  "compression.xbzrle": {
    type: group,
    mayBeLeftOut: true,
    libvirt: { listed: "xbzrle" },
    qemu: { capability: "xbzrle", of: "stream" },
    excludes: [
      {
        option: "parallel",
        why: "compression with xbzrle does not work on parallel connections; use zlib or zstd, or leave parallel out",
      },
    ],
  },
  /** Size of the cache of sent pages, in bytes: a power of two, from 4096. */
  "compression.xbzrle.cacheBytes": {
    type: powerOfTwo(4096, 2 ** 40),
    cli: {
      words: "--comp-xbzrle-cache <bytes>",
      help: "with xbzrle: size of the cache of sent pages; a power of two",
    },
    virsh: { option: "--comp-xbzrle-cache" },
    libvirt: { parameter: "compression.xbzrle.cache", type: "ullong", as: "compressionXbzrleCacheBytes" },
    qemu: { parameter: "xbzrle-cache-size", at: "source" },
  },
  /** zlib in threads on one connection; QEMU dropped it in 9.1. */
  "compression.mt": {
    type: group,
    mayBeLeftOut: true,
    libvirt: { listed: "mt" },
    qemu: { capability: "compress", of: "stream", until: "9.1" },
    excludes: [
      {
        option: "parallel",
        why: "compression with mt does not work on parallel connections; use zlib or zstd, or leave parallel out",
      },
    ],
  },
  /** 0 to 9. */
  "compression.mt.level": {
    type: whole(0, 9),
    cli: { words: "--comp-mt-level <n>", help: "with mt: level, 0 to 9" },
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
  /** Threads at the destination; 1 to 255. */
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
        why: "compression with zlib works on parallel connections only; add parallel, or use xbzrle or mt",
      },
    ],
    excludes: [
      {
        option: "compression.zstd",
        why: "parallel connections use one compression method; choose zlib or zstd",
      },
    ],
  },
  /** 0 to 9. */
  "compression.zlib.level": {
    type: whole(0, 9),
    cli: { words: "--comp-zlib-level <n>", help: "with zlib: level, 0 to 9" },
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
        why: "compression with zstd works on parallel connections only; add parallel, or use xbzrle or mt",
      },
    ],
  },
  /** 0 to 20. */
  "compression.zstd.level": {
    type: whole(0, 20),
    cli: { words: "--comp-zstd-level <n>", help: "with zstd: level, 0 to 20" },
    virsh: { option: "--comp-zstd-level", since: "9.1" },
    libvirt: { parameter: "compression.zstd.level", type: "int", as: "compressionZstdLevel" },
    qemu: { parameter: "multifd-zstd-level", at: "source" },
  },
  /** Throttles the guest's vCPUs step by step while they dirty memory faster than it is sent. */
  autoConverge: {
    type: group,
    mayBeLeftOut: true,
    cli: {
      words: "--auto-converge",
      help: "throttle the guest while it dirties memory faster than it is sent",
    },
    virsh: { option: "--auto-converge" },
    libvirt: { flag: "AUTO_CONVERGE", bit: 1 << 13, sourceOnly: true },
    qemu: { capability: "auto-converge", of: "source" },
    excludes: [
      {
        option: "dirtyLimit",
        why: "autoConverge and dirtyLimit both throttle the guest, and QEMU supports only one of them at a time; leave one out",
      },
    ],
  },
  /** Initial throttle, as a percentage of vCPU time; 1 to 99. */
  "autoConverge.initialPercent": {
    type: whole(1, 99),
    atMost: "autoConverge.maxPercent",
    cli: {
      words: "--auto-converge-initial <%>",
      help: "with --auto-converge: initial throttle",
    },
    virsh: { option: "--auto-converge-initial" },
    libvirt: { parameter: "auto_converge.initial", type: "int", as: "autoConvergeInitialPercent" },
    qemu: { parameter: "cpu-throttle-initial" },
  },
  "autoConverge.incrementPercent": {
    type: whole(1, 99),
    cli: {
      words: "--auto-converge-increment <%>",
      help: "with --auto-converge: increment of the throttle",
    },
    virsh: { option: "--auto-converge-increment" },
    libvirt: { parameter: "auto_converge.increment", type: "int", as: "autoConvergeIncrementPercent" },
    qemu: { parameter: "cpu-throttle-increment" },
  },
  "autoConverge.maxPercent": {
    type: whole(1, 99),
    cli: {
      words: "--auto-converge-max <%>",
      help: "with --auto-converge: maximum throttle",
    },
    qemu: { parameter: "max-cpu-throttle" },
  },
  /** Throttles only the vCPUs that write; excludes `autoConverge`. QEMU needs KVM's dirty ring for it. */
  dirtyLimit: {
    type: group,
    mayBeLeftOut: true,
    qemu: { capability: "dirty-limit", of: "source", since: "8.1" },
  },
  /** Limit of each vCPU's dirty rate, in MiB/s, from 1. */
  "dirtyLimit.mibPerSecond": {
    type: whole(1, 8_000_000),
    cli: {
      words: "--dirty-limit <MiB/s>",
      help: "throttle only the vCPUs that dirty memory faster than this",
    },
    qemu: { parameter: "vcpu-dirty-limit" },
  },
  /** Interval between measurements of the dirty rate, in ms; 1 to 1000. */
  "dirtyLimit.periodMs": {
    type: whole(1, 1000),
    qemu: { parameter: "x-vcpu-dirty-limit-period" },
  },
  /** The source's kernel sends memory without copying it. Needs tcp and `parallel`, without compression and TLS. */
  zeroCopy: {
    type: onOff,
    mayBeLeftOut: true,
    cli: {
      words: "--zerocopy",
      help: "with --parallel and --transport tcp: the kernel sends memory without copying it",
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
        why: "zeroCopy cannot send compressed memory; leave one out",
      },
      { option: "tls", why: "zeroCopy cannot send encrypted memory; leave one out" },
      {
        option: "transport.unix",
        why: "zeroCopy works over tcp only: a unix socket always copies; use the transport tcp",
      },
    ],
  },
  /**
   * The bandwidth expected during the switchover, in MiB/s: with it, instead of its own estimate, QEMU decides
   * whether the remaining memory fits into the downtime. It does not limit anything. 0: QEMU's own estimate.
   */
  switchoverBandwidthMiBps: {
    type: mebibytesPerSecond,
    mayBeLeftOut: true,
    cli: {
      words: "--available-switchover-bandwidth <MiB/s>",
      help: "bandwidth expected during the switchover, instead of QEMU's own estimate",
    },
    virsh: {
      option: "--available-switchover-bandwidth",
      note: "in MiB/s; needs QEMU 8.2 at the source; does not limit anything",
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
  /** Prepares both QEMUs for a switch to post-copy; does not switch. */
  postcopy: {
    type: group,
    cli: {
      words: "--postcopy",
      help: "enable post-copy: the guest may resume on the destination before all memory has arrived",
      steered: true,
    },
    virsh: {
      option: "--postcopy",
      note: "between two switchoverds; after the switch, the guest is lost if either host fails",
    },
    libvirt: { flag: "POSTCOPY", bit: 1 << 15 },
    qemu: { capability: "postcopy-ram", of: "stream" },
    needs: [
      {
        option: "live",
        why: "post-copy needs a running guest that is resumed at the destination",
        code: "ARGUMENT_UNSUPPORTED",
      },
    ],
    excludes: [
      {
        option: "paused",
        why: "post-copy needs a running guest that is resumed at the destination",
        code: "ARGUMENT_UNSUPPORTED",
      },
      { option: "offline", why: "an offline migration transfers no memory", code: "ARGUMENT_UNSUPPORTED" },
      { option: "tunnelled", why: "post-copy does not go through a tunnel", code: "ARGUMENT_UNSUPPORTED" },
    ],
  },
  /** Limit for pages that the destination did not request, in MiB/s; 0 for no limit. */
  "postcopy.bandwidthMiBps": {
    type: mebibytesPerSecond,
    cli: {
      words: "--postcopy-bandwidth <MiB/s>",
      help: "with --postcopy: limit for pages that the guest did not request",
      steered: true,
    },
    virsh: {
      option: "--postcopy-bandwidth",
      note: "for pages that the guest did not request, in MiB/s; 0 for no limit",
    },
    libvirt: {
      parameter: "bandwidth.postcopy",
      type: "ullong",
      as: "postcopyBandwidthMiBps",
      ignoredAlone: true,
    },
    qemu: { parameter: "max-postcopy-bandwidth", at: "source", unit: 2 ** 20 },
  },
  /** Requested pages travel on a separate connection. */
  "postcopy.preempt": {
    type: onOff,
    mayBeLeftOut: true,
    cli: {
      words: "--postcopy-preempt",
      help: "with --postcopy: send requested pages on a separate connection",
    },
    qemu: { capability: "postcopy-preempt", of: "stream" },
  },
  /**
   * Encrypts the memory stream and the disk mirrors. Certificates follow libvirt's conventions for QEMU; each side
   * reads them from a directory of its own host.
   */
  tls: {
    type: group,
    cli: { words: "--tls", help: "encrypt the stream, with QEMU's certificates" },
    virsh: { option: "--tls", note: "for memory and disks, with the certificates of `migration.tls`" },
    libvirt: { flag: "TLS", bit: 1 << 16 },
    // Never sets tls-authz: QEMU shows an absent one as "", but when it is set to "" it looks for an object of that
    // name.
    qemu: { of: "stream", sets: { "tls-creds": tlsId }, clears: { "tls-creds": "", "tls-hostname": "" } },
    needs: [
      {
        option: "tls.hostname",
        onlyWith: "transport.unix",
        why: "tls over a unix socket needs tls.hostname: there is no host name to check the destination's certificate against",
      },
    ],
  },
  /** The name required in the destination's certificate. Default: the host of the stream's address. */
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
      help: `with --tls: directory of the certificates (default: ${defaultTlsCredentials})`,
    },
  },
  /** Whether the destination requires a certificate from the source; the source always requires one. Default: true. */
  "tls.verifyPeer": {
    type: choice,
    cli: {
      words: "--no-tls-verify",
      help: "with --tls: the destination does not require a certificate",
    },
  },
  /** GnuTLS' priority string. Default: QEMU's own. */
  "tls.priority": { type: text },
} as const satisfies Readonly<Record<string, MigrationOption>>;
