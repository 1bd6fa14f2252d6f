// The configuration of switchoverd: a JSON file that is validated completely before anything is opened.

import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import * as z from "zod/mini";
import type { QemuUser } from "../drivers/qemu/process/confinement.js";
import type { Hosting } from "../drivers/qemu/process/spec.js";
import { defaultLimits } from "../protocol/convergence/limits.js";
import { defaultDeadlines } from "../protocol/deadlines.js";
import { messageOf } from "../protocol/effect-result.js";
import { defaultPolicy } from "../protocol/unreachable-policy.js";
import { describeConfigErrors, withMessages } from "./config-errors.js";
import { systemEmulators } from "./domains/emulators.js";

const run = promisify(execFile);
const port = z.int().check(z.minimum(1), z.maximum(65_535));
const milliseconds = z.number().check(z.minimum(0), z.maximum(86_400_000));
const account = z.union([
  z.string().check(z.minLength(1)),
  z.int().check(z.minimum(0), z.maximum(4_294_967_294)),
]);
const absolute = z.string().check(z.regex(/^\/[^\0]*$/));
const uuid = z.string().check(z.regex(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/));

const count = z.int().check(z.minimum(1), z.maximum(1_000_000));

const defaultLimitsOfClients = {
  maxClients: 5_000,
  maxAnonymousClients: 100,
  handshakeMs: 10_000,
  maxClientRequests: 5,
  maxQueuedMessages: 10_000,
  maxPendingSettles: 1_000,
};

const limits = z.strictObject({
  /** Clients over all sockets. Capped at half of the process's limit of open files. */
  maxClients: z._default(count, defaultLimitsOfClients.maxClients),
  /** Connections that have not finished the TLS handshake. Capped at an eighth of the process's limit of open files. */
  maxAnonymousClients: z._default(count, defaultLimitsOfClients.maxAnonymousClients),
  /** Time limit of the TLS handshake, in milliseconds. */
  handshakeMs: z._default(milliseconds.check(z.minimum(1)), defaultLimitsOfClients.handshakeMs),
  /** Concurrent calls per client, not counting queries of high priority. */
  maxClientRequests: z._default(count, defaultLimitsOfClients.maxClientRequests),
  /** Events and replies that are queued for a client that does not read; when there are more, it is disconnected. */
  maxQueuedMessages: z._default(count, defaultLimitsOfClients.maxQueuedMessages),
  /** Concurrent requests of sources: settle, concede, hand over, announce post-copy, reconnect. */
  maxPendingSettles: z._default(count, defaultLimitsOfClients.maxPendingSettles),
});
const defaultKeep = { keepStories: 1_000, keepDays: 90 };

const schema = z.strictObject({
  /** The host's name, by which other hosts must be able to reach it. Default: the system's. */
  hostname: z._default(z.string().check(z.minLength(1)), hostname()),
  /** The machine's permanent UUID. Default: /etc/machine-id. */
  hostUuid: z.optional(uuid),
  /** Directory of definitions, records of running guests, and the journal. */
  stateDirectory: z._default(z.string(), "/var/lib/switchover"),
  /** Directory of the QEMU logs, one `<name>.log` per guest. Default: `log` in the state directory. */
  logDirectory: z.optional(z.string().check(z.minLength(1))),
  /** The user that QEMU runs as, by name or number. Default: the daemon's user. */
  qemuUser: z.optional(account),
  /** QEMU's only group; it must be able to open /dev/kvm. Default: the user's primary group. */
  qemuGroup: z.optional(account),
  /** Runs QEMU with `-sandbox on`, which blocks system calls it does not need. Disable only for a QEMU built without seccomp. */
  qemuSandbox: z._default(z.boolean(), true),
  /** Maximum number and age of the stories of ended migrations that are kept. Decisions are kept permanently. */
  journal: z._default(
    z.strictObject({
      keepStories: z._default(z.int().check(z.minimum(0)), defaultKeep.keepStories),
      keepDays: z._default(z.number().check(z.minimum(0), z.maximum(36_500)), defaultKeep.keepDays),
    }),
    defaultKeep,
  ),
  /** Directory of QEMU's sockets. Keep it short: a socket's path has at most 107 bytes. */
  runDirectory: z._default(z.string(), "/run/switchover"),
  /**
   * Directories whose Unix sockets peers and clients may name, for example for a settle, a stream or a disk mirror:
   * `/directory` for sockets directly in it, `/directory/**` also for those below it. Default: the run directory and libvirt's.
   */
  unixDirectories: z.optional(z.readonly(z.array(absolute))),
  /** The QEMU binaries that an incoming guest may name as its emulator, in the same form. Default: the system's. */
  emulators: z.optional(z.readonly(z.array(absolute))),
  socket: z._default(
    z.strictObject({
      path: z._default(z.string(), "/run/switchover/switchover-sock"),
      mode: z._default(z.string().check(z.regex(/^0[0-7]{3}$/)), "0600"),
      owner: z.optional(z.strictObject({ uid: z.number(), gid: z.number() })),
    }),
    { path: "/run/switchover/switchover-sock", mode: "0600" },
  ),
  /** The TLS listener for other hosts, with certificates in libvirt's places. Without it no remote host can connect. */
  tls: z.optional(
    z.strictObject({
      host: z._default(z.string(), "::"),
      port: z._default(port, 16_514),
      /** Certificates of the server, and of the client that connects to other hosts. Default: libvirt's places below /etc/pki. */
      pkiPath: z.exactOptional(z.string()),
      /** Distinguished names of permitted clients; `*` matches any text. */
      allowedDns: z.readonly(z.array(z.string()).check(z.minLength(1))),
    }),
  ),
  /** A listener without authentication, for networks in which every host is trusted, such as in tests. */
  tcp: z.optional(z.strictObject({ host: z.string(), port: z._default(port, 16_509) })),
  /** The listener for the inspector's page and the metrics. Without it they are not served. */
  http: z.optional(
    z.union([
      z.strictObject({
        host: z._default(z.string(), "127.0.0.1"),
        port: z._default(port, 9177),
        /** Required from clients that are not on the loopback. Default: a new one at each start, which is printed. */
        token: z.exactOptional(z.string().check(z.minLength(16))),
      }),
      z.strictObject({ socket: z.string() }),
    ]),
  ),
  /** The URI by which other daemons reach this one to settle. Default: TLS, else TCP, where it listens; else its socket. */
  uri: z.optional(z.string()),
  migration: z._default(
    z.strictObject({
      /** The address that QEMU binds for incoming streams. Default: the address of `host`. */
      listen: z.optional(z.string()),
      /** The host name or address that the source connects to. Default: the hostname. */
      host: z.optional(z.string()),
      ports: z._default(z.tuple([port, port]), [49_152, 49_215]),
      /** Relays outgoing TCP streams through a process of ours: shorter downtime, at most about 1 GiB/s. */
      relay: z._default(z.boolean(), true),
      /** The certificates for `--tls`, as in libvirt's qemu.conf: QEMU's own, in files with QEMU's names. */
      tls: z.exactOptional(
        z.strictObject({
          /** Directory of the certificates. Default: `/etc/pki/qemu`. */
          credentials: z.exactOptional(z.string().check(z.minLength(1))),
          /** Requires a certificate of the source. Default: true. */
          verifyPeer: z.exactOptional(z.boolean()),
          /** Refuses migrations without `--tls`. Default: false. */
          required: z.exactOptional(z.boolean()),
          /** GnuTLS priority string. Default: QEMU's. */
          priority: z.exactOptional(z.string().check(z.minLength(1))),
        }),
      ),
      /** A migration is aborted when no data is transferred for this long. */
      stallMs: z._default(milliseconds, defaultLimits.stallMs),
    }),
    { ports: [49_152, 49_215], relay: true, stallMs: defaultLimits.stallMs },
  ),
  policy: z._default(
    z.strictObject({
      whenUnreachable: z._default(z.enum(["wait", "fence", "resume"]), defaultPolicy.whenUnreachable),
      patienceMs: z._default(milliseconds, defaultPolicy.patienceMs),
    }),
    defaultPolicy,
  ),
  /** Limits on connections and on the resources of each. libvirtd has the same limits under similar names. */
  limits: z._default(limits, defaultLimitsOfClients),
  /** Endpoints of the etcd that serves as the fence. */
  etcd: z._default(z.readonly(z.array(z.url({ protocol: /^https?$/ }))), []),
  deadlines: z._default(
    z.partial(
      z.strictObject(
        Object.fromEntries(Object.keys(defaultDeadlines).map((key) => [key, milliseconds])) as {
          [N in keyof typeof defaultDeadlines]: typeof milliseconds;
        },
      ),
    ),
    {},
  ),
});

export type ConfigInput = z.input<typeof schema>;
type Resolved =
  | "hostUuid"
  | "uri"
  | "logDirectory"
  | "qemuUser"
  | "qemuGroup"
  | "qemuSandbox"
  | "unixDirectories"
  | "emulators";
export interface DaemonConfig extends Omit<z.output<typeof schema>, Resolved> {
  /** The user, sandbox and logs of QEMU processes on this host. */
  readonly hosting: Hosting;
  readonly hostUuid: string;
  readonly unixDirectories: readonly string[];
  readonly emulators: readonly string[];
  readonly uri: string;
}

/** @throws Error that names each invalid place. */
export async function readConfig(path: string): Promise<DaemonConfig> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw new Error(`the configuration ${path} cannot be read: ${messageOf(error)}`);
  }
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch (error) {
    throw new Error(`${path} is not valid JSON: ${messageOf(error)}`);
  }
  return completeConfig(given, path);
}

/** @throws Error that names each invalid place. */
export async function completeConfig(given: unknown, path = "the configuration"): Promise<DaemonConfig> {
  const parsed = schema.safeParse(given, withMessages);
  if (!parsed.success) throw new Error(`${path}:\n${describeConfigErrors(parsed.error)}`);
  const { data } = parsed;
  const [lowest, highest] = data.migration.ports;
  if (lowest > highest)
    throw new Error(`${path}: migration.ports: the first port, ${lowest}, is above the last, ${highest}`);
  if (data.policy.whenUnreachable === "fence" && data.etcd.length === 0)
    throw new Error(`${path}: policy.whenUnreachable "fence" requires etcd`);
  const { logDirectory, qemuUser, qemuGroup, qemuSandbox, ...rest } = data;
  const byTls = data.tls && `qemu+tls://${data.hostname}:${data.tls.port}/system`;
  const byTcp = data.tcp && `qemu+tcp://${data.hostname}:${data.tcp.port}/system`;
  return {
    ...rest,
    hosting: {
      sandbox: qemuSandbox,
      logDirectory: logDirectory ?? join(data.stateDirectory, "log"),
      user: await userOf(path, qemuUser, qemuGroup),
    },
    unixDirectories: data.unixDirectories ?? [data.runDirectory, dirname(data.socket.path), "/run/libvirt"],
    emulators: data.emulators ?? systemEmulators(),
    hostUuid: data.hostUuid ?? (await machineUuid(path)),
    uri: data.uri ?? byTls ?? byTcp ?? `qemu+unix:///system?socket=${data.socket.path}`,
  };
}

type Account = string | number | undefined;

async function userOf(path: string, user: Account, group: Account): Promise<QemuUser | undefined> {
  if (user === undefined && group === undefined) return undefined;
  if (user === undefined) throw new Error(`${path}: qemuGroup requires qemuUser`);
  if (process.getuid?.() !== 0) throw new Error(`${path}: qemuUser requires that the daemon runs as root`);
  const [, , uid, ownGid] = await accountOf(path, "passwd", "qemuUser", user);
  const gid = group === undefined ? ownGid : (await accountOf(path, "group", "qemuGroup", group))[2];
  return { uid: Number(uid), gid: Number(gid) };
}

/** Returns the fields of an entry of getent(1). A numeric id needs no entry; it then also stands for the user's group. */
async function accountOf(
  path: string,
  database: "passwd" | "group",
  key: string,
  wanted: string | number,
): Promise<readonly string[]> {
  try {
    return (await run("getent", [database, String(wanted)])).stdout.trim().split(":");
  } catch {
    if (typeof wanted === "number") return ["", "", String(wanted), String(wanted)];
    throw new Error(
      `${path}: ${key}: ${database === "passwd" ? "user" : "group"} "${wanted}" does not exist on this host`,
    );
  }
}

async function machineUuid(path: string): Promise<string> {
  const id = (await readFile("/etc/machine-id", "utf8").catch(() => "")).trim();
  if (!/^[\da-f]{32}$/.test(id))
    throw new Error(`${path}: hostUuid is missing, and /etc/machine-id does not contain an id; set hostUuid`);
  return id.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
