// What a person may wish for the memory stream beside its limits, in libvirt's scope, and which wishes do not go
// together. What a QEMU can do of it is found out by the driver (drivers/qemu/migration/negotiate.ts).

/** An option that is absent is off; `{}` is on, with QEMU's own values. */
export interface StreamWish {
  /** Several connections at once (QEMU: multifd). */
  readonly parallel?: {
    /** Beside the first one, which carries everything but memory; 1 to 255. Default: 2. */
    readonly connections?: number;
  };
  readonly compression?: Compression;
  /** Slows the guest's processors down, step by step, while its memory changes faster than it is sent. */
  readonly autoConverge?: {
    /** Percent of a processor's time that it is kept from running at first; 1 to 99. */
    readonly initialPercent?: number;
    readonly incrementPercent?: number;
    readonly maxPercent?: number;
  };
  /** Slows down only the processors that write; not with `autoConverge`. QEMU needs KVM's dirty ring for it. */
  readonly dirtyLimit?: {
    /** How fast each processor may dirty memory, in MiB/s, from 1. */
    readonly mibPerSecond?: number;
    /** How often that is measured, in ms; 1 to 1000. */
    readonly periodMs?: number;
  };
  /** The source's kernel sends memory without a copy of it. Over tcp with `parallel`, uncompressed, without TLS. */
  readonly zeroCopy?: boolean;
  /** Both QEMUs are made ready for a switch to post-copy; it does not switch. */
  readonly postcopy?: {
    /** Of what the destination has not asked for, in MiB/s; 0 for no limit. */
    readonly bandwidthMiBps?: number;
    /** What the destination asks for travels on a connection of its own. */
    readonly preempt?: boolean;
  };
  readonly tls?: TlsWish;
  /** What may be left out where a QEMU does not know it; the outcome tells. Anything else is refused then. */
  readonly optional?: readonly OptionalOption[];
}

/** Each method that is there is used. `zlib` or `zstd` with `parallel`, `xbzrle` and `mt` without. */
export interface Compression {
  /** Sends what has changed in a page that was sent before. */
  readonly xbzrle?: {
    /** How much of the memory is remembered, in bytes: a power of two, from 4096. */
    readonly cacheBytes?: number;
  };
  /** zlib in threads on one connection; QEMU has dropped it in 9.1. */
  readonly mt?: {
    /** 0 to 9. */
    readonly level?: number;
    /** 1 to 255. */
    readonly threads?: number;
    /** At the destination; 1 to 255. */
    readonly decompressThreads?: number;
  };
  readonly zlib?: {
    /** 0 to 9. */
    readonly level?: number;
  };
  readonly zstd?: {
    /** 0 to 20. */
    readonly level?: number;
  };
}

/** Of the memory stream and of the disks'. Certificates by libvirt's conventions for QEMU, each side from a directory of its own host. */
export interface TlsWish {
  /** Default: `/etc/pki/qemu`. */
  readonly credentials?: string;
  /** The name that the destination's certificate must bear. Default: the host of the stream's address. */
  readonly hostname?: string;
  /** Whether the destination wants a certificate of the source; the source always wants one. Default: true. */
  readonly verifyPeer?: boolean;
  /** GnuTLS' priority string. Default: QEMU's own. */
  readonly priority?: string;
}

/** QEMU's own, said because both sides must agree. */
export const defaultConnections = 2;

export const defaultTlsCredentials = "/etc/pki/qemu";

/** What both sides decide alike from each other's capabilities, or one side alone. */
export const optionalOptions = [
  "compression.xbzrle",
  "compression.mt",
  "autoConverge",
  "dirtyLimit",
  "zeroCopy",
  "postcopy.preempt",
] as const;
export type OptionalOption = (typeof optionalOptions)[number];

/** A wish that was left out, and why. */
export interface Dropped {
  readonly option: string;
  readonly why: string;
}

type Range = readonly [lowest: number, highest: number];
/** A list of names is of those that may be in a list. */
type Form = Range | "boolean" | "text" | readonly string[] | { readonly [name: string]: Form };

/** QEMU's own bounds (its migrate_params_check; 7.2 does not check the levels of zlib and zstd). */
const form = {
  parallel: { connections: [1, 255] },
  compression: {
    xbzrle: { cacheBytes: [4096, 2 ** 40] },
    mt: { level: [0, 9], threads: [1, 255], decompressThreads: [1, 255] },
    zlib: { level: [0, 9] },
    zstd: { level: [0, 20] },
  },
  autoConverge: { initialPercent: [1, 99], incrementPercent: [1, 99], maxPercent: [1, 99] },
  dirtyLimit: { mibPerSecond: [1, 8_000_000], periodMs: [1, 1000] },
  zeroCopy: "boolean",
  postcopy: { bandwidthMiBps: [0, 8_000_000], preempt: "boolean" },
  tls: { credentials: "text", hostname: "text", verifyPeer: "boolean", priority: "text" },
  optional: optionalOptions,
} as const satisfies Form;

/**
 * @throws RangeError with a sentence: what does not fit, why, and what to do.
 */
export function checkStream(stream: StreamWish, transport: "unix" | "tcp"): void {
  checkForm("stream", stream, form);
  const wrong = contradictions(stream, transport).next().value;
  if (wrong !== undefined) throw new RangeError(wrong);
}

function checkForm(at: string, value: unknown, wanted: Form): void {
  if (value === undefined) return;
  if (wanted === "boolean" || wanted === "text") {
    const fits = wanted === "text" ? typeof value === "string" && value !== "" : typeof value === "boolean";
    if (!fits) throw new RangeError(`${at} must be a ${wanted}`);
  } else if (isNames(wanted)) {
    const strange = Array.isArray(value) ? value.find((it) => !wanted.includes(it)) : value;
    if (strange !== undefined)
      throw new RangeError(`${at} cannot hold "${strange}", only ${wanted.join(", ")}`);
  } else if (isRange(wanted)) {
    const [lowest, highest] = wanted;
    if (!(Number.isInteger(value) && Number(value) >= lowest && Number(value) <= highest))
      throw new RangeError(`${at} is ${value}; it must be a whole number from ${lowest} to ${highest}`);
  } else {
    if (typeof value !== "object" || value === null) throw new RangeError(`${at} must be an object`);
    for (const [name, part] of Object.entries(value)) {
      const known = wanted[name];
      if (known === undefined)
        throw new RangeError(`${at} has no option "${name}"; there are ${Object.keys(wanted).join(", ")}`);
      checkForm(`${at}.${name}`, part, known);
    }
  }
}

const isNames = (it: Form): it is readonly string[] => Array.isArray(it) && typeof it[0] === "string";
const isRange = (it: Form): it is Range => Array.isArray(it) && typeof it[0] === "number";

/** Whether it has the form of a wish; whether its parts go together is not asked. */
export function isStreamWish(value: unknown): boolean {
  try {
    checkForm("stream", value, form);
    return true;
  } catch {
    return false;
  }
}

/** What libvirt and QEMU refuse, as sentences. */
function* contradictions(
  { parallel, compression, autoConverge, dirtyLimit, zeroCopy, tls }: StreamWish,
  transport: "unix" | "tcp",
): Generator<string, undefined> {
  const { xbzrle, mt, zlib, zstd } = compression ?? {};
  if (compression !== undefined && !(xbzrle || mt || zlib || zstd))
    yield "compression names no method; name xbzrle, mt, zlib or zstd, or leave it out";
  if ((zlib || zstd) && !parallel)
    yield `compression with ${zlib ? "zlib" : "zstd"} works on parallel connections only; add parallel, or take xbzrle or mt`;
  if ((xbzrle || mt) && parallel)
    yield `compression with ${xbzrle ? "xbzrle" : "mt"} does not work on parallel connections; take zlib or zstd, or leave parallel out`;
  if (zlib && zstd) yield "parallel connections have one compression; take zlib or zstd";
  const cacheBytes = xbzrle?.cacheBytes ?? 4096;
  if (!Number.isInteger(Math.log2(cacheBytes)))
    yield `stream.compression.xbzrle.cacheBytes is ${cacheBytes}; QEMU wants a power of two, such as ${2 ** Math.round(Math.log2(cacheBytes))}`;
  const { initialPercent, maxPercent } = autoConverge ?? {};
  if (initialPercent !== undefined && maxPercent !== undefined && initialPercent > maxPercent)
    yield `stream.autoConverge.maxPercent is ${maxPercent}, less than initialPercent, ${initialPercent}; raise it`;
  if (autoConverge && dirtyLimit)
    yield "autoConverge and dirtyLimit both slow the guest down, and QEMU does one of them; leave one out";
  if (zeroCopy && !parallel) yield "zeroCopy works on parallel connections only; add parallel";
  if (zeroCopy && compression)
    yield "zeroCopy sends memory as it is, and compression does not; leave one out";
  if (zeroCopy && tls) yield "zeroCopy sends memory as it is, and TLS does not; leave one out";
  if (zeroCopy && transport === "unix")
    yield "zeroCopy works over tcp only: a unix socket always copies; choose the transport tcp";
  if (tls && transport === "unix" && tls.hostname === undefined)
    yield "tls over a unix socket needs tls.hostname: there is no host that the destination's certificate could be compared with";
  return undefined;
}
