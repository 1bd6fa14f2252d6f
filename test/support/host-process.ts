// Two hosts for a test: a switchoverd each, in its own process, with its own state, sockets and identity; and guests, as
// domains, that prove their continuity.

import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ConfigInput } from "../../src/daemon/config.js";
import {
  bitsOf,
  type MigrateFlag,
  type MigrateParameters,
  toParameters,
} from "../../src/drivers/libvirt/client/flags.js";
import { stepCalls } from "../../src/drivers/libvirt/client/protocol-calls.js";
import { Redial } from "../../src/drivers/libvirt/client/reconnecting-client.js";
import type { RpcConnection } from "../../src/drivers/libvirt/rpc/client.js";
import { domainStates, jobTypes } from "../../src/drivers/libvirt/rpc/constants.js";
import { errorCodes, LibvirtError } from "../../src/drivers/libvirt/rpc/libvirt-error.js";
import { remote } from "../../src/drivers/libvirt/rpc/procedures.js";
import type { XdrValue } from "../../src/drivers/libvirt/rpc/xdr.js";
import { systemClock } from "../../src/drivers/platform/clock.js";
import { Monitor } from "../../src/drivers/qemu/monitor/commands.js";
import { connectMonitor } from "../../src/drivers/qemu/monitor/connect.js";
import { migrateBetween, type RemoteMigration } from "../../src/library/remote/migrate-between.js";
import { checkContinuity, describeContinuity } from "../../src/proof-guest/continuity.js";
import { readDiskArea } from "../../src/proof-guest/disk.js";
import { checkDisk, describeDisk } from "../../src/proof-guest/disk-proof.js";
import { buildFirmware, type ProofGuestOptions, proofGuestOptions } from "../../src/proof-guest/firmware.js";
import { messageOf } from "../../src/protocol/effect-result.js";
import { patienceMs } from "./patience.js";
import { programArguments } from "./programs.js";
import { qemusOf } from "./qemus-of.js";
import { until } from "./until.js";

const { procedures } = remote;

/** Short enough for a test; each is still far longer than the operation that it limits. */
const deadlines = {
  performRequestedMs: 12_000,
  switchoverMs: 2_000,
  cancelMs: 500,
  confirmMs: 1_000,
  listenMs: 10_000,
  receiveMs: 15_000,
  finishMs: 4_000,
  completeMs: 2_000,
  backoffMs: 20,
  maxBackoffMs: 200,
};

/** Two network namespaces for the hosts, connected by one cable. */
export class Cable {
  readonly #id = randomUUID().slice(0, 6);
  readonly addresses = { a: "10.213.7.1", b: "10.213.7.2" } as const;

  constructor() {
    const [a, b] = [this.namespace("a"), this.namespace("b")];
    ip("netns", "add", a);
    ip("netns", "add", b);
    ip("-n", a, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", b);
    for (const side of ["a", "b"] as const) {
      const namespace = this.namespace(side);
      ip("-n", namespace, "address", "add", `${this.addresses[side]}/24`, "dev", "cable");
      for (const link of ["lo", "cable"]) ip("-n", namespace, "link", "set", link, "up");
    }
  }

  namespace = (side: "a" | "b"): string => `swo-${side}-${this.#id}`;

  /** Limits the rate from a to b, in tc's notation, such as `40mbit`. */
  slow(rate: string): void {
    const words = ["qdisc", "replace", "dev", "cable", "root", "tbf", "rate", rate, "burst", "64kb"];
    execFileSync("tc", ["-n", this.namespace("a"), ...words, "latency", "100ms"]);
  }

  fast(): void {
    execFileSync("tc", ["-n", this.namespace("a"), "qdisc", "del", "dev", "cable", "root"]);
  }

  cut(): void {
    ip("-n", this.namespace("a"), "link", "set", "cable", "down");
  }

  mend(): void {
    ip("-n", this.namespace("a"), "link", "set", "cable", "up");
  }

  remove(): void {
    for (const side of ["a", "b"] as const) ip("netns", "del", this.namespace(side));
  }
}

const ip = (...words: string[]) => execFileSync("ip", words);

/** Explains why namespaces cannot be created here; null when they can. */
export const noCable: string | undefined =
  process.getuid?.() !== 0
    ? "network namespaces need root"
    : spawnSync("ip", ["-V"]).status !== 0
      ? "there is no ip (iproute2) here"
      : undefined;
if (noCable !== undefined) console.warn(`partitions are not tested: ${noCable}`);

/** Both hosts are on one machine: their sockets, and the additional monitors of watched QEMUs, are below this directory. */
const ofTests = {
  unixDirectories: [`${tmpdir()}/**`],
  emulators: ["/usr/bin/qemu-system-*", `${tmpdir()}/**`],
};

export class HostProcess {
  readonly directory: string;
  readonly socket: string;
  readonly uri: string;
  readonly #config: string;
  readonly #namespace: string | undefined;
  readonly #program: readonly string[];
  #child: ChildProcess | undefined;
  #said = "";
  #told = "";

  /** `namespace`: the host's network namespace; `program`: Node's arguments for the daemon. */
  constructor(
    name: string,
    more: Partial<ConfigInput> = {},
    namespace?: string,
    program: readonly string[] = programArguments("switchoverd"),
  ) {
    this.#namespace = namespace;
    this.#program = program;
    this.directory = mkdtempSync(join(tmpdir(), `${name}-`));
    this.socket = join(this.directory, "sock");
    this.uri = `qemu+unix:///system?socket=${this.socket}`;
    this.#config = join(this.directory, "switchoverd.json");
    const config: ConfigInput = {
      hostname: name,
      hostUuid: randomUUID(),
      stateDirectory: join(this.directory, "state"),
      runDirectory: join(this.directory, "run"),
      socket: { path: this.socket },
      ...ofTests,
      migration: streams({ relay: false }),
      deadlines,
      ...more,
    };
    writeFileSync(this.#config, JSON.stringify(config));
  }

  /** Resolves when the daemon listens. */
  async start(): Promise<void> {
    const words = [...this.#program, "--config", this.#config];
    const stdio = ["ignore", "pipe", "pipe"] as const;
    const env = { ...process.env, TMPDIR: this.directory };
    const child =
      this.#namespace === undefined
        ? spawn(process.execPath, words, { stdio: [...stdio], env })
        : spawn("ip", ["netns", "exec", this.#namespace, process.execPath, ...words], {
            stdio: [...stdio],
            env,
          });
    this.#child = child;
    child.stderr.on("data", (text) => {
      this.#said += text;
    });
    child.stdout.on("data", (text) => {
      this.#told += text;
    });
    const ended = once(child, "close").then(() => {
      throw new Error(`switchoverd ended: ${this.#said}`);
    });
    await Promise.race([once(child.stdout, "data"), ended]);
    ended.catch(() => {});
  }

  get said(): string {
    return this.#said;
  }

  /** Returns and clears the daemon's log so far, which the test expects. */
  takeSaid(): string {
    const said = this.#said;
    this.#said = "";
    return said;
  }

  /** The pid of the daemon. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Lines of the daemon on stdout. */
  get told(): string {
    return this.#told;
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, "close");
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** Lists the remains of migrations in its directories. */
  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Enables the relay, which is one more process for each migration, only for tests of failures or of relays. */
export const streams = ({ at = "127.0.0.1", relay }: { at?: string; relay: boolean }) => ({
  listen: at,
  host: at,
  relay,
  stallMs: 1_500,
});

const proof = { memoryKiB: 65_544, workingSetMiB: 4, dirtyMiBps: 8 };
/** Where the guest's image is; each host has its own. */
const proofDisk = { slots: 64, seed: 7 };

export interface ProofDomainOptions {
  /** The format of the disk's images; a guest has no disk unless it is given. */
  readonly disk?: "raw" | "qcow2";
  readonly workingSetMiB?: number;
  readonly dirtyMiBps?: number;
  /** Each of its QEMUs has one more monitor, and the guest more memory to be moved. */
  readonly watched?: boolean;
}

/**
 * Adds a monitor to each QEMU, and memory that does not compress beside the memory that the guest writes to, so that its
 * stream takes some seconds on any machine. Not for guests of which a libvirtd is only asked for its capabilities.
 */
const watchedQemu = `#!/bin/sh
case "$*" in *"-machine none"*) exec qemu-system-x86_64 "$@" ;; esac
exec qemu-system-x86_64 "$@" -qmp unix:"$0.sock",server=on,wait=off -device loader,file="\${0%/*}/ballast",addr=0x1000000,force-raw=on
`;
const ballastBytes = 12 * 2 ** 20;

/** A guest with a serial file, and an image, for each host that it may run on; both hosts see the same directory. */
export class ProofDomain {
  readonly uuid = randomUUID();
  readonly name: string;
  readonly #format: "raw" | "qcow2" | undefined;
  readonly #proof: ProofGuestOptions;
  readonly #watched: boolean;
  readonly #directory: string;
  readonly #sides: string[] = [];

  constructor(name: string, { disk, watched = false, ...wish }: ProofDomainOptions = {}) {
    this.name = name;
    this.#format = disk;
    this.#watched = watched;
    this.#proof = proofGuestOptions({ ...proof, ...wish, ...(disk && { disk: proofDisk }) });
    this.#directory = mkdtempSync(join(tmpdir(), "guest-"));
    mkdirSync(this.#directory, { recursive: true });
    writeFileSync(join(this.#directory, "firmware"), buildFirmware(this.#proof));
    if (watched) writeFileSync(join(this.#directory, "ballast"), randomBytes(ballastBytes));
    if (disk === undefined) return;
    this.makeImage("a", "24M");
    // Behind the area that the guest writes to, so that there is data to copy.
    execFileSync("qemu-io", ["-f", disk, "-c", "write -P 7 8M 16M", this.image("a")]);
  }

  image = (side: string): string => join(this.#directory, `${side}.${this.#format}`);

  /** Creates the image of that side anew; `words` are qemu-img's arguments. */
  makeImage(side: string, size: string, ...words: readonly string[]): void {
    const format = this.#format ?? "raw";
    execFileSync("qemu-img", ["create", "-q", "-f", format, ...words, this.image(side), size]);
  }

  #disk(side: string): string {
    if (this.#format === undefined) return "";
    return `<disk type='file'><driver name='qemu' type='${this.#format}'/><source file='${this.image(side)}'/><target dev='hda' bus='ide'/></disk>`;
  }

  #emulator(side: string): string {
    if (!this.#watched) return "";
    const path = join(this.#directory, `${side}.qemu`);
    writeFileSync(path, watchedQemu, { mode: 0o755 });
    return `<emulator>${path}</emulator>`;
  }

  /** Queries its QEMU of that side, which has to be watched. */
  async asked<T>(side: string, ask: (monitor: Monitor) => Promise<T>): Promise<T> {
    const path = join(this.#directory, `${side}.qemu.sock`);
    const session = await connectMonitor(path, { clock: systemClock, deadlineMs: patienceMs, oob: false });
    try {
      return await ask(new Monitor(session));
    } finally {
      session.close();
    }
  }

  /** Returns the guest's XML for a side; sides are ordered by their first use. */
  xml(side: string): string {
    if (!this.#sides.includes(side)) this.#sides.push(side);
    return `<domain type='qemu'>
  <name>${this.name}</name>
  <uuid>${this.uuid}</uuid>
  <memory unit='KiB'>65544</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type><loader type='rom'>${join(this.#directory, "firmware")}</loader></os>
  <features><acpi/></features>
  <devices>${this.#emulator(side)}
    <controller type='usb' model='none'/><memballoon model='none'/>
    ${this.#disk(side)}<serial type='file'><source path='${join(this.#directory, `${side}.serial`)}' append='on'/></serial>
  </devices>
</domain>`;
  }

  /** Returns the pids of the guest's QEMUs. */
  pids = (): number[] => qemusOf(this.uuid);

  /** @throws Error when its count has a gap, a repeat or a reset. */
  check(): void {
    const report = this.#heard();
    if (!report.ok) throw new Error(describeContinuity(report));
  }

  /** Checks that each acknowledged write is in that side's image. The guest may go on writing. @throws Error */
  async checkDisk(side: string): Promise<void> {
    const { acknowledged = 0 } = this.#heard();
    const image = { path: this.image(side), format: this.#format ?? "raw" };
    const area = await readDiskArea(image, proofDisk, join(this.#directory, "area"));
    const report = checkDisk(area, proofDisk, acknowledged, { heardSince: this.#heard().acknowledged ?? 0 });
    if (!report.ok || report.slotsVerified === 0) throw new Error(describeDisk(report));
  }

  /** Returns how many bytes each of its QEMUs has written so far, by the path of its serial file. */
  serialSizes(): ReadonlyMap<string, number> {
    const paths = this.#sides.map((side) => join(this.#directory, `${side}.serial`));
    return new Map(paths.filter((path) => existsSync(path)).map((path) => [path, statSync(path).size]));
  }

  /** Describes the discontinuity of the guest's count; undefined when there is none. `resets` allows a guest to boot again. */
  discontinuity(resets: boolean): { readonly isRepeated: boolean; readonly why: string } | undefined {
    const report = this.#heard();
    const wrong = report.faults.filter(({ kind }) => !resets || kind !== "reset");
    if (wrong.length === 0) return undefined;
    const isRepeated = wrong.some(({ kind }) => kind === "repeat");
    return { isRepeated, why: describeContinuity({ ...report, faults: wrong }) };
  }

  /** Waits until the guest has continued its count on any side. */
  async countsAnywhere(more = 512): Promise<void> {
    const size = () => [...this.serialSizes().values()].reduce((sum, bytes) => sum + bytes, 0);
    const enough = size() + more;
    await until(() => size() >= enough, `${this.name} continues its count`);
  }

  #heard() {
    const streams = this.#sides
      .map((name) => ({ name, path: join(this.#directory, `${name}.serial`) }))
      .filter(({ path }) => existsSync(path))
      .map(({ name, path }) => ({ name, bytes: readFileSync(path) }));
    return checkContinuity(streams, this.#proof);
  }

  /** Waits until the guest has continued its count on that side. */
  async counts(side: string, more = 512): Promise<void> {
    const path = join(this.#directory, `${side}.serial`);
    const size = () => (existsSync(path) ? readFileSync(path).length : 0);
    const enough = size() + more;
    await until(() => size() >= enough, `${this.name} continues its count at ${side}`);
  }

  remove(): void {
    for (const pid of this.pids()) process.kill(pid, "SIGKILL");
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

export type Side = "a" | "b";

/** The guest takes its definition along. */
export const whole: readonly MigrateFlag[] = ["LIVE", "PERSIST_DEST", "UNDEFINE_SOURCE"];

/** A guest at host a, and host b beside it. */
export class TwoHosts {
  readonly guest: ProofDomain;
  readonly hosts: Readonly<Record<Side, HostProcess>>;
  readonly #redials: Redial[] = [];
  #connections: Partial<Record<Side, Redial>> = {};
  /** The name of the serial file. */
  readonly #serialOf: Record<Side, string> = { a: "a", b: "b" };

  readonly cable: Cable | undefined;

  /** `each`: the configuration of each host that the other does not have. */
  constructor(
    more: Partial<ConfigInput>,
    cable?: Cable,
    each?: Readonly<Record<Side, Partial<ConfigInput>>>,
    wish: ProofDomainOptions = {},
  ) {
    this.guest = new ProofDomain(`guest-${randomUUID().slice(0, 8)}`, wish);
    this.cable = cable;
    const host = (side: Side) => {
      const address = cable?.addresses[side];
      const alone = address && {
        tcp: { host: address },
        uri: uriAt(address),
        migration: streams({ at: address, relay: true }),
      };
      return new HostProcess(`host${side}`, { ...more, ...alone, ...each?.[side] }, cable?.namespace(side));
    };
    this.hosts = { a: host("a"), b: host("b") };
  }

  /** `runs`: whether the guest is started, or only defined. */
  async begin(runs = true): Promise<void> {
    await Promise.all([this.hosts.a.start(), this.hosts.b.start()]);
    const rpc = await this.rpc("a");
    await rpc.call(procedures.domainDefineXml, { xml: this.guest.xml("a") });
    if (!runs) return;
    await rpc.call(procedures.domainCreate, { dom: this.dom });
    await this.guest.counts("a");
  }

  rpc(side: Side): Promise<RpcConnection> {
    this.#connections[side] ??= this.redial(side);
    return (this.#connections[side] as Redial).rpc();
  }

  redial(side: Side): Redial {
    const redial = new Redial(this.hosts[side].uri, systemClock);
    this.#redials.push(redial);
    return redial;
  }

  get dom() {
    return { name: this.guest.name, uuid: this.guest.uuid, id: -1 };
  }

  /** Migrates from a to b, coordinated from here. */
  managed(parameters: MigrateParameters = {}, more: readonly MigrateFlag[] = []): Promise<RemoteMigration> {
    return migrateBetween({
      from: this.hosts.a.uri,
      to: this.hosts.b.uri,
      domain: this.guest.name,
      flags: [...whole, ...more],
      parameters: { xml: this.guest.xml("b"), ...parameters },
    });
  }

  /** Migrates from a to b by the `switchover` command, in its own process; with a cable it runs at host a. */
  client(words: readonly string[]): { kill(): void; said(): string; readonly ended: Promise<unknown> } {
    const path = join(this.hosts.a.directory, "destination.xml");
    writeFileSync(path, this.guest.xml("b"));
    const where = ["--from", this.hosts.a.uri, "--to", this.#uriFromA(), "--domain", this.guest.name];
    const definition = ["--xml", path, "--persistent", "--undefine-source"];
    const all = [...programArguments("switchover"), "migrate", ...where, ...definition, ...words];
    const namespace = this.cable?.namespace("a");
    const inside = namespace === undefined ? [] : ["ip", "netns", "exec", namespace];
    const [command = process.execPath, ...rest] = [...inside, process.execPath, ...all];
    const child = spawn(command, rest, { stdio: ["ignore", "pipe", "ignore"] });
    let said = "";
    child.stdout.on("data", (text) => {
      said += text;
    });
    return { kill: () => void child.kill("SIGKILL"), said: () => said, ended: once(child, "close") };
  }

  /** Migrates by version 2, which has no other XML for the destination: both QEMUs append to the same file. */
  version2(parameters: MigrateParameters): { readonly ended: Promise<unknown>; leave(): Promise<unknown> } {
    this.#serialOf.b = "a";
    const [a, b] = [this.redial("a"), this.redial("b")];
    const calls = stepCalls("version 2", { xmlMigratable: true });
    const { dom } = this;
    const options = { deadlineMs: Number.POSITIVE_INFINITY };
    const step = { flags: bitsOf(whole), options, cookieIn: new Uint8Array() };
    const steps = async () => {
      const { xml } = await calls.begin(a, { ...step, dom, parameters });
      const there = { ...parameters, xml, name: dom.name };
      const { cookieOut, uriOut } = await calls.prepare(b, { ...step, parameters: there });
      const named = { ...there, uri: uriOut ?? "" };
      const perform = calls.perform(a, { ...step, dom, parameters: named, cookieIn: cookieOut });
      const failed = await perform.then(
        () => false,
        () => true,
      );
      await calls.finish(b, { ...step, parameters: named, cookieIn: cookieOut, cancelled: failed });
    };
    return { ended: steps().catch(() => {}), leave: () => Promise.all([a.close(), b.close()]) };
  }

  #uriFromA(): string {
    return this.cable === undefined ? this.hosts.b.uri : uriAt(this.cable.addresses.b);
  }

  /** Migrates with the source's daemon as the coordinator. */
  async peerToPeer(
    from: Side,
    to: Side,
    serial: string = to,
    parameters: MigrateParameters = {},
    mode: readonly MigrateFlag[] = [],
  ): Promise<void> {
    const rpc = await this.rpc(from);
    await rpc.call(
      procedures.domainMigratePerform3Params,
      {
        dom: this.dom,
        dconnuri: this.cable === undefined ? this.hosts[to].uri : uriAt(this.cable.addresses[to]),
        params: toParameters({ xml: this.guest.xml(serial), ...parameters }),
        cookieIn: new Uint8Array(),
        flags: bitsOf([...whole, "PEER2PEER", ...mode]),
      },
      { deadlineMs: Number.POSITIVE_INFINITY },
    );
  }

  async list(side: Side) {
    const rpc = await this.rpc(side);
    return (await rpc.call(procedures.connectListAllDomains, { needResults: 1, flags: 0 })).domains;
  }

  /** Waits until the job at that side meets the condition. */
  async jobAt(side: Side, isSo: (job: JobInfo) => boolean): Promise<void> {
    const rpc = await this.rpc(side);
    await until(async () => isSo(await rpc.call(procedures.domainGetJobInfo, { dom: this.dom })));
  }

  /** Waits until the guest's only copy runs there, and checks that its count continued without a gap. */
  async runsAt(side: Side, serial: string = side): Promise<void> {
    await this.settles();
    const rpc = await this.rpc(side);
    const { state } = await rpc.call(procedures.domainGetState, { dom: this.dom, flags: 0 });
    if (state !== domainStates.running) throw new Error(`the guest is in state ${state} at ${side}`);
    await this.guest.counts(serial);
    this.guest.check();
  }

  /** Waits until one QEMU is left and neither side has a job; returns the side that has the guest. */
  async settles(): Promise<Side> {
    const endMs = Date.now() + patienceMs;
    for (;;) {
      const at = await this.#whoHasIt();
      if (at !== null && this.guest.pids().length === 1) return at;
      if (Date.now() > endMs) {
        const said = `${this.hosts.a.said}${this.hosts.b.said}`;
        throw new Error(`QEMUs ${this.guest.pids()} of the guest are left; ${said}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Returns null while a side has a job, or neither or both have the guest. */
  async #whoHasIt(): Promise<Side | null> {
    const having: Side[] = [];
    for (const side of ["a", "b"] as const) {
      if ((await this.list(side)).length === 0) continue;
      const rpc = await this.rpc(side);
      const job = await rpc.call(procedures.domainGetJobInfo, { dom: this.dom }).catch((error: unknown) => {
        // The guest has left in between.
        if (error instanceof LibvirtError && error.code === errorCodes.NO_DOMAIN) return null;
        throw error;
      });
      if (job?.type !== jobTypes.none) return null;
      having.push(side);
    }
    return having.length === 1 ? (having[0] ?? null) : null;
  }

  /** Kills the daemon with -9, and starts another one in its place. */
  async restart(side: Side): Promise<void> {
    await this.hosts[side].kill();
    await this.hosts[side].start();
  }

  /** Returns the side on which the guest ended, and checks that it runs and is defined there, without a gap in its count. */
  async countsOn(): Promise<Side> {
    const at = await this.settles();
    const rpc = await this.rpc(at);
    const { persistent } = await rpc.call(procedures.domainIsPersistent, { dom: this.dom });
    if (persistent !== 1) throw new Error(`the guest runs at ${at}, and is not defined there`);
    await this.runsAt(at, this.#serialOf[at]);
    await this.#leavesNothing();
    return at;
  }

  /** Waits until no directories of QEMUs but that of the running one are left (G6): each is removed just after its process ended. */
  async #leavesNothing(): Promise<void> {
    const endMs = Date.now() + patienceMs;
    for (;;) {
      const left = Object.values(this.hosts).flatMap(({ directory }) => readdirSync(join(directory, "run")));
      if (left.length === 1) return;
      if (Date.now() > endMs) throw new Error(`these are left of QEMUs: ${left}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async end(): Promise<void> {
    for (const redial of this.#redials) await redial.close();
    await this.hosts.a.remove();
    await this.hosts.b.remove();
    this.guest.remove();
    this.cable?.remove();
  }
}

const uriAt = (address: string): string => `qemu+tcp://${address}:16509/system`;

type JobInfo = XdrValue<typeof procedures.domainGetJobInfo.ret>;

interface HostsOptions extends Partial<ConfigInput> {
  readonly cable?: Cable;
  readonly each?: Readonly<Record<Side, Partial<ConfigInput>>>;
  readonly guest?: ProofDomainOptions;
}

export async function inTwoHosts(
  { cable, each, guest, ...more }: HostsOptions,
  run: (lab: TwoHosts) => Promise<void>,
): Promise<void> {
  const lab = new TwoHosts(more, cable, each, guest);
  try {
    await lab.begin();
    await run(lab);
    for (const { said } of Object.values(lab.hosts)) if (said !== "") throw new Error(said);
  } catch (error) {
    const said = `hosta: ${lab.hosts.a.said}; hostb: ${lab.hosts.b.said}`;
    throw new Error(`${messageOf(error)}; ${said}`, { cause: error });
  } finally {
    await lab.end();
  }
}
