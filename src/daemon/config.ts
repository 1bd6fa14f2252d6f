// What a switchoverd is told when it starts: a JSON file, checked whole before anything is opened.

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
  /** Clients of all sockets together. At most half of the files that the process may have open. */
  maxClients: z._default(count, defaultLimitsOfClients.maxClients),
  /** Connections that have not finished the TLS handshake. At most an eighth of the files that the process may have open. */
  maxAnonymousClients: z._default(count, defaultLimitsOfClients.maxAnonymousClients),
  /** How long the TLS handshake may take. */
  handshakeMs: z._default(milliseconds.check(z.minimum(1)), defaultLimitsOfClients.handshakeMs),
  /** Calls of one client that run at once; queries of high priority aside. */
  maxClientRequests: z._default(count, defaultLimitsOfClients.maxClientRequests),
  /** Events and replies that may wait for a client that does not read; more disconnect it. */
  maxQueuedMessages: z._default(count, defaultLimitsOfClients.maxQueuedMessages),
  /** Questions of sources (settle, yield, hand over, announce, reconnect) that are answered at once. */
  maxPendingSettles: z._default(count, defaultLimitsOfClients.maxPendingSettles),
});
const defaultKeep = { keepStories: 1_000, keepDays: 90 };

const schema = z.strictObject({
  /** What the host calls itself; the other side must reach it by this name. Default: the system's. */
  hostname: z._default(z.string().check(z.minLength(1)), hostname()),
  /** Of the machine, for good. Default: /etc/machine-id. */
  hostUuid: z.optional(uuid),
  /** Definitions, running guests, and the journal. */
  stateDirectory: z._default(z.string(), "/var/lib/switchover"),
  /** The log of each guest's QEMUs, `<name>.log`. Default: `log` in the state directory. */
  logDirectory: z.optional(z.string().check(z.minLength(1))),
  /** As whom QEMU runs, by name or number. Default: as this daemon. */
  qemuUser: z.optional(account),
  /** Its one group; it must be able to open /dev/kvm. Default: the user's own. */
  qemuGroup: z.optional(account),
  /** Whether QEMU is kept from system calls that it does not need. Off only for a QEMU that was built without seccomp. */
  qemuSandbox: z._default(z.boolean(), true),
  /** How many stories of ended migrations are kept, and for how long. What was decided is kept for good. */
  journal: z._default(
    z.strictObject({
      keepStories: z._default(z.int().check(z.minimum(0)), defaultKeep.keepStories),
      keepDays: z._default(z.number().check(z.minimum(0), z.maximum(36_500)), defaultKeep.keepDays),
    }),
    defaultKeep,
  ),
  /** Sockets of QEMUs; short, since a socket's path has at most 107 bytes. */
  runDirectory: z._default(z.string(), "/run/switchover"),
  /**
   * Directories whose unix sockets peers and clients may name, such as for a settle, a stream or the copies of disks:
   * `/directory` for those in it, `/directory/**` for those below it too. Default: the run directory, and libvirt's.
   */
  unixDirectories: z.optional(z.readonly(z.array(absolute))),
  /** The QEMUs that a guest which comes in may name as its emulator, in the same form. Default: the system's own. */
  emulators: z.optional(z.readonly(z.array(absolute))),
  socket: z._default(
    z.strictObject({
      path: z._default(z.string(), "/run/switchover/switchover-sock"),
      mode: z._default(z.string().check(z.regex(/^0[0-7]{3}$/)), "0600"),
      owner: z.optional(z.strictObject({ uid: z.number(), gid: z.number() })),
    }),
    { path: "/run/switchover/switchover-sock", mode: "0600" },
  ),
  /** Other hosts, by certificates in libvirt's places; without it nobody comes from outside. */
  tls: z.optional(
    z.strictObject({
      host: z._default(z.string(), "::"),
      port: z._default(port, 16_514),
      /** Of the server, and of the client that settles with other hosts. Default: libvirt's places below /etc/pki. */
      pkiPath: z.exactOptional(z.string()),
      /** Distinguished names that are let in, `*` stands for any text. */
      allowedDns: z.readonly(z.array(z.string()).check(z.minLength(1))),
    }),
  ),
  /** Without certificates: for a network in which everybody is trusted, such as a test's own. */
  tcp: z.optional(z.strictObject({ host: z.string(), port: z._default(port, 16_509) })),
  /** Where the inspector's page and the metrics are served; without it, nowhere. */
  http: z.optional(
    z.union([
      z.strictObject({
        host: z._default(z.string(), "127.0.0.1"),
        port: z._default(port, 9177),
        /** Asked for beyond loopback. Default: a new one at each start, printed. */
        token: z.exactOptional(z.string().check(z.minLength(16))),
      }),
      z.strictObject({ socket: z.string() }),
    ]),
  ),
  /** How another daemon reaches this one, to settle. Default: by TLS if it listens, else by its socket. */
  uri: z.optional(z.string()),
  migration: z._default(
    z.strictObject({
      /** The address that QEMU binds for streams that come in. Default: that of the host which the source is told. */
      listen: z.optional(z.string()),
      /** What the source is told of it. Default: the hostname. */
      host: z.optional(z.string()),
      ports: z._default(z.tuple([port, port]), [49_152, 49_215]),
      /** Whether what leaves by TCP goes through a process of ours: a shorter pause, at about a gibibyte a second. */
      relay: z._default(z.boolean(), true),
      /** The certificates of `--tls`, as libvirt's qemu.conf has them: of QEMU, in files of QEMU's names. */
      tls: z.exactOptional(
        z.strictObject({
          /** Default: `/etc/pki/qemu`. */
          credentials: z.exactOptional(z.string().check(z.minLength(1))),
          /** Whether what comes in must show a certificate. Default: true. */
          verifyPeer: z.exactOptional(z.boolean()),
          /** Whether a migration without `--tls` is refused. Default: false. */
          required: z.exactOptional(z.boolean()),
          /** GnuTLS' priority string. Default: QEMU's own. */
          priority: z.exactOptional(z.string().check(z.minLength(1))),
        }),
      ),
      /** Given up when no byte moves for so long. */
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
  /** How many connections there may be, and what each of them may cost. libvirtd has the same limits under like names. */
  limits: z._default(limits, defaultLimitsOfClients),
  /** Endpoints of the fence. */
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
  /** How QEMUs are run here. */
  readonly hosting: Hosting;
  readonly hostUuid: string;
  readonly unixDirectories: readonly string[];
  readonly emulators: readonly string[];
  readonly uri: string;
}

/** @throws Error that names each wrong place. */
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
    throw new Error(`${path} is no JSON: ${messageOf(error)}`);
  }
  return completeConfig(given, path);
}

/** @throws Error that names each wrong place. */
export async function completeConfig(given: unknown, path = "the configuration"): Promise<DaemonConfig> {
  const parsed = schema.safeParse(given, withMessages);
  if (!parsed.success) throw new Error(`${path}:\n${describeConfigErrors(parsed.error)}`);
  const { data } = parsed;
  const [lowest, highest] = data.migration.ports;
  if (lowest > highest) throw new Error(`${path}: migration.ports go from ${lowest} down to ${highest}`);
  if (data.policy.whenUnreachable === "fence" && data.etcd.length === 0)
    throw new Error(`${path}: the policy "fence" needs etcd`);
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
  if (user === undefined) throw new Error(`${path}: qemuGroup needs qemuUser`);
  if (process.getuid?.() !== 0) throw new Error(`${path}: qemuUser needs a daemon that runs as root`);
  const [, , uid, ownGid] = await accountOf(path, "passwd", "qemuUser", user);
  const gid = group === undefined ? ownGid : (await accountOf(path, "group", "qemuGroup", group))[2];
  return { uid: Number(uid), gid: Number(gid) };
}

/** The fields of getent(1)'s answer; a number needs no entry, but for its group. */
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
      `${path}: ${key}: this host has no ${database === "passwd" ? "user" : "group"} "${wanted}"`,
    );
  }
}

async function machineUuid(path: string): Promise<string> {
  const id = (await readFile("/etc/machine-id", "utf8").catch(() => "")).trim();
  if (!/^[\da-f]{32}$/.test(id)) throw new Error(`${path}: give hostUuid; /etc/machine-id has none`);
  return id.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
