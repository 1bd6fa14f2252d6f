// The domains of a host: what is defined, what runs, and what happens to them. Definitions and running QEMUs are on disk
// before anybody is told, so that a restarted daemon finds all of them again.

import { chown, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod/mini";
import { type BuiltQemu, binaryOf, buildQemu, filesOf } from "../drivers/domain/build.js";
import { type Domain, parseDomain } from "../drivers/domain/domain.js";
import { gatherQemuFacts, type QemuFacts } from "../drivers/domain/host-facts.js";
import { DomainXmlError } from "../drivers/domain/xml/errors.js";
import { giveTo } from "../drivers/qemu/confinement.js";
import { GuestLog } from "../drivers/qemu/guest-log.js";
import { handle, handleIn, keepHandle } from "../drivers/qemu/handle-file.js";
import { brokenInPostcopy } from "../drivers/qemu/migration-status.js";
import type { Monitor } from "../drivers/qemu/monitor/commands.js";
import { QmpUnsentError } from "../drivers/qemu/monitor/errors.js";
import { isAlive, killByArgument } from "../drivers/qemu/proc.js";
import { type Hosting, QemuGoneError, type QemuHandle, QemuProcess } from "../drivers/qemu/process.js";
import { apart } from "../effects/apart.js";
import type { Clock } from "../effects/ports.js";
import { asRunningGuest, type RunningGuest } from "../guests.js";
import { type Cause, messageOf } from "../protocol/answer.js";
import { defaultLimits } from "../protocol/convergence.js";
import { no } from "./errors.js";
import { FileStore } from "./files.js";
import type { Job } from "./job.js";
import {
  details,
  type EventName,
  type LifecycleEvent,
  type Live,
  type ManagedDomain,
  reasons,
  type WhyStopped,
} from "./managed-domain.js";

const liveFile = z.object({
  xml: z.string(),
  /** Its QEMU came in by this migration, and is the guest only when that has arrived. */
  incoming: z.nullable(z.string()),
  /** What is defined when it has. */
  persistent: z._default(z.nullable(z.string()), null),
  /** Its definition goes with it when it leaves by this migration. */
  leaving: z._default(z.nullable(z.string()), null),
  handle: z.nullable(handle),
  directory: z.nullable(z.string()),
  /** It was lost in post-copy: what is left of it runs until it needs memory that never came. */
  broken: z._default(z.boolean(), false),
});
export type LiveFile = z.infer<typeof liveFile>;
type Kept = Pick<LiveFile, "incoming" | "handle" | "directory"> & Partial<LiveFile>;

/** How a migration has ended that a live file names. */
export interface Ended {
  hasArrived(migrationId: string): Promise<boolean>;
  hasLeft(migrationId: string): Promise<boolean>;
}

export interface DomainsOptions {
  readonly stateDirectory: string;
  readonly runDirectory: string;
  readonly hosting: Hosting;
  readonly clock: Clock;
  /** What went wrong where nobody waits for an answer. */
  readonly complain: (sentence: string) => void;
}

async function statusOf(main: Monitor): Promise<{ running: boolean; status: string }> {
  const { running } = await main.execute("query-status", {});
  const { status = "" } = await main.execute("query-migrate", {});
  return { running, status };
}

export class Domains {
  readonly #options: DomainsOptions;
  readonly #definitions: FileStore;
  readonly #lives: FileStore;
  readonly #autostarts: FileStore;
  readonly #byUuid = new Map<string, ManagedDomain>();
  readonly #listeners = new Set<(event: LifecycleEvent) => void>();
  readonly #facts = new Map<string, Promise<QemuFacts>>();
  #nextId = 1;

  private constructor(
    options: DomainsOptions,
    definitions: FileStore,
    lives: FileStore,
    autostarts: FileStore,
  ) {
    this.#options = options;
    this.#definitions = definitions;
    this.#lives = lives;
    this.#autostarts = autostarts;
  }

  /** Reads the definitions. Running guests come back by `adoptAll`. */
  static async open(options: DomainsOptions): Promise<Domains> {
    const definitions = await FileStore.open(join(options.stateDirectory, "domains"), ".xml");
    const lives = await FileStore.open(join(options.stateDirectory, "running"), ".json");
    const autostarts = await FileStore.open(join(options.stateDirectory, "autostart"), ".uuid");
    const domains = new Domains(options, definitions, lives, autostarts);
    const autostarted = await autostarts.readAll();
    await removeLeft(options.runDirectory);
    for (const [uuid, xml] of await definitions.readAll()) {
      try {
        const entry = domains.#entry(parseDomain(xml));
        entry.definition = parseDomain(xml);
        entry.autostart = autostarted.has(uuid);
      } catch (error) {
        options.complain(
          `the definition of ${uuid} cannot be read and is left as it is: ${messageOf(error)}`,
        );
      }
    }
    return domains;
  }

  /** What ran when the daemon ended. `inMigration`: whose QEMUs are found by their migration, not here. */
  async adoptAll(inMigration: ReadonlySet<string>, ended: Ended) {
    for (const [uuid, text] of await this.#lives.readAll()) {
      if (inMigration.has(uuid)) continue;
      try {
        const it = liveFile.parse(JSON.parse(text));
        if (it.incoming !== null && !(await ended.hasArrived(it.incoming))) await this.#lives.remove(uuid);
        else await this.#adopt(it, ended);
      } catch (error) {
        this.#options.complain(`the guest ${uuid} cannot be taken up: ${messageOf(error)}`);
      }
    }
  }

  async #adopt(
    { xml, handle: known, directory, persistent, leaving, broken }: LiveFile,
    { hasLeft }: Ended,
  ): Promise<void> {
    const domain = parseDomain(xml);
    if (persistent !== null) await this.define(parseDomain(persistent));
    const found = known ?? (directory === null ? undefined : await handleIn(directory));
    const options = { clock: this.#options.clock, log: this.#logOf(domain.name) };
    try {
      if (found === undefined) throw new Error("no QEMU of it was found");
      const qemu = await QemuProcess.attach(found, options).catch((error: unknown) => {
        if (error instanceof QemuGoneError || !isAlive(found)) throw error;
        // It is this host's, and must not be started once more (G1); a person can end it.
        if (!broken)
          this.#options.complain(`the QEMU of ${domain.name} does not answer: ${messageOf(error)}`);
        return QemuProcess.mute(found, options);
      });
      const { spec } = await this.build(domain);
      await this.enter(domain, asRunningGuest(spec, qemu), broken);
    } catch (error) {
      if (!(error instanceof QemuGoneError) && found !== undefined) throw error;
      const entry = this.#entry(domain);
      if (error instanceof QemuGoneError) entry.whyStopped = sentence("failed", error.why);
      if (leaving !== null && entry.definition !== null && (await hasLeft(leaving)))
        await this.undefine(entry);
      this.#forgetTransient(entry);
      await this.#lives.remove(domain.uuid);
    }
  }

  get all(): readonly ManagedDomain[] {
    return [...this.#byUuid.values()];
  }

  /** @throws LibvirtError NO_DOMAIN */
  byUuid(uuid: string): ManagedDomain {
    const found = this.#byUuid.get(uuid);
    if (found === undefined) throw no("NO_DOMAIN", `no domain with matching uuid '${uuid}'`);
    return found;
  }

  /** @throws LibvirtError NO_DOMAIN */
  byName(name: string): ManagedDomain {
    const found = this.all.find((it) => it.name === name);
    if (found === undefined) throw no("NO_DOMAIN", `no domain with matching name '${name}'`);
    return found;
  }

  /** @throws LibvirtError NO_DOMAIN */
  byId(id: number): ManagedDomain {
    const found = this.all.find((it) => it.live?.id === id);
    if (found === undefined) throw no("NO_DOMAIN", `no domain with matching id ${id}`);
    return found;
  }

  onEvent(listener: (event: LifecycleEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell<E extends EventName & keyof typeof details>(
    domain: ManagedDomain,
    event: E,
    detail: keyof (typeof details)[E],
  ): void {
    const told = { domain, event, detail: details[event][detail] as number };
    for (const listener of this.#listeners) apart(() => listener(told));
  }

  /** @throws LibvirtError XML_ERROR with every fault of the text. */
  parse(xml: string): Domain {
    try {
      return parseDomain(xml);
    } catch (error) {
      throw error instanceof DomainXmlError ? no("XML_ERROR", error.message, { cause: error }) : error;
    }
  }

  /** What stands in the way of a domain of that name and uuid. @throws LibvirtError */
  checkIdentity({ name, uuid }: Pick<Domain, "name" | "uuid">): void {
    const namesake = this.all.find((it) => it.name === name && it.uuid !== uuid);
    if (namesake !== undefined)
      throw no("OPERATION_FAILED", `domain '${name}' already exists with uuid ${namesake.uuid}`);
    const other = this.#byUuid.get(uuid);
    if (other !== undefined && other.name !== name)
      throw no("OPERATION_FAILED", `domain '${other.name}' is already defined with uuid ${uuid}`);
  }

  /** What stands in the way of a guest that is to come here. @throws LibvirtError */
  checkMayCome(domain: Domain): void {
    this.checkIdentity(domain);
    const entry = this.#byUuid.get(domain.uuid);
    if (entry === undefined) return;
    this.checkIdle(entry);
    if (entry.live !== null) throw no("OPERATION_INVALID", `domain '${domain.name}' is already active`);
  }

  async define(domain: Domain): Promise<ManagedDomain> {
    this.checkIdentity(domain);
    await this.#definitions.write(domain.uuid, domain.xml);
    const entry = this.#entry(domain);
    const known = entry.definition !== null;
    entry.definition = domain;
    this.tell(entry, "defined", known ? "updated" : "added");
    return entry;
  }

  async undefine(entry: ManagedDomain): Promise<void> {
    if (entry.definition === null) throw no("OPERATION_INVALID", "cannot undefine transient domain");
    if (entry.autostart) await this.setAutostart(entry, false);
    await this.#definitions.remove(entry.uuid);
    entry.definition = null;
    this.tell(entry, "undefined", "removed");
    this.#forgetTransient(entry);
  }

  /** Durable when it resolves. */
  async setAutostart(entry: ManagedDomain, autostart: boolean): Promise<void> {
    if (entry.definition === null) throw no("OPERATION_INVALID", "cannot set autostart for transient domain");
    if (autostart) await this.#autostarts.write(entry.uuid, "");
    else await this.#autostarts.remove(entry.uuid);
    entry.autostart = autostart;
  }

  /** @throws LibvirtError when a QEMU of it lives that this daemon could not take up (G1). */
  async #checkNotLeftOver({ uuid, name }: Domain): Promise<void> {
    const text = this.#byUuid.get(uuid)?.live ? undefined : await this.#lives.read(uuid);
    const left = text === undefined ? null : liveFile.parse(JSON.parse(text)).handle;
    if (left !== null && isAlive(left))
      throw no("OPERATION_INVALID", `a QEMU of ${name} (pid ${left.pid}) still runs, and was not taken up`);
  }

  /** Boots it. */
  async start(domain: Domain, { paused }: { paused: boolean }): Promise<ManagedDomain> {
    this.checkIdentity(domain);
    await this.#checkNotLeftOver(domain);
    const entry = this.#entry(domain);
    try {
      this.checkIdle(entry);
      if (entry.live !== null) throw no("OPERATION_INVALID", "domain is already running");
      const { spec, sideArgs } = await this.build(domain);
      const { clock, hosting } = this.#options;
      const directory = this.directoryOf(`guest-${domain.uuid}`);
      const all = [...sideArgs, ...(paused ? ["-S"] : [])];
      await this.keep(domain, { incoming: null, handle: null, directory });
      if (hosting.user !== undefined) await giveTo(hosting.user, filesOf(domain));
      const qemu = await QemuProcess.start(spec, { clock, hosting, directory, sideArgs: all }).catch(
        (error) => {
          throw no("INTERNAL_ERROR", messageOf(error), { cause: error });
        },
      );
      await keepHandle(directory, qemu.handle);
      await this.enter(domain, asRunningGuest(spec, qemu));
      entry.state = paused
        ? { name: "paused", reason: reasons.paused.user }
        : { name: "running", reason: reasons.running.booted };
      this.tell(entry, "started", "booted");
      if (paused) this.tell(entry, "suspended", "paused");
      return entry;
    } catch (error) {
      if (entry.live === null) {
        await this.#lives.remove(domain.uuid);
        this.#forgetTransient(entry);
      }
      throw error;
    }
  }

  directoryOf = (name: string): string => join(this.#options.runDirectory, name);

  /** @throws LibvirtError CONFIG_UNSUPPORTED with everything that is not supported. */
  async build(domain: Domain): Promise<BuiltQemu> {
    const binary = binaryOf(domain.model);
    const { kvm } = await this.factsOf(binary);
    try {
      return buildQemu(domain, { kvm, directory: await this.#channelDirectory() });
    } catch (error) {
      throw error instanceof DomainXmlError
        ? no("CONFIG_UNSUPPORTED", error.message, { cause: error })
        : error;
    }
  }

  /** Asked once for each binary. */
  factsOf(binary: string): Promise<QemuFacts> {
    let facts = this.#facts.get(binary);
    if (facts === undefined) {
      const directory = this.directoryOf(`${factsPrefix}${this.#facts.size}`);
      const { clock, hosting } = this.#options;
      const { sandbox, user } = hosting;
      facts = gatherQemuFacts(binary, { clock, directory, hosting: { sandbox, user } });
      this.#facts.set(binary, facts);
      facts.catch(() => this.#facts.delete(binary));
    }
    return facts;
  }

  /** Durable: a restarted daemon looks for this QEMU. */
  keep(domain: Domain, where: Kept): Promise<void> {
    const whole = {
      persistent: null,
      leaving: null,
      broken: false,
      ...where,
      xml: domain.xml,
    } satisfies LiveFile;
    return this.#lives.write(domain.uuid, JSON.stringify(whole));
  }

  forgetLive = (uuid: string): Promise<void> => this.#lives.remove(uuid);

  /** A guest that is here from now on, whoever has started its QEMU. */
  async enter(domain: Domain, guest: RunningGuest, broken = false): Promise<ManagedDomain> {
    const entry = this.#entry(domain);
    const live: Live = { id: this.#nextId++, domain, guest, endsAs: "crashed", gone: false, why: null };
    entry.live = live;
    const { main } = guest.process;
    main.onEvent(({ name, data }) => {
      if (entry.live !== live) return;
      // In a migration QEMU also ends because it is told to quit: only the guest's own shutdown says how the guest ended.
      if (name === "SHUTDOWN" && live.endsAs === "crashed" && (data.guest || entry.job === null)) {
        live.endsAs = "shutdown";
        this.tell(entry, "shutdown", data.guest ? "guest" : "host");
      }
      if (entry.job !== null) return;
      if (name === "STOP") entry.state = { name: "paused", reason: reasons.paused.unknown };
      if (name === "RESUME") entry.state = { name: "running", reason: reasons.running.unpaused };
    });
    void guest.process.exited.then((why) => {
      live.gone = true;
      live.why = why;
      // In a migration its own side sees to it.
      if (entry.live === live && entry.job === null) void this.leave(entry, live.endsAs);
    });
    await this.keepHandleOf(domain, guest.process.handle, { broken });
    // Of one that does not answer.
    entry.state = { name: "running", reason: reasons.running[broken ? "postcopyFailed" : "unknown"] };
    const asked = await statusOf(main).catch((error: unknown) => {
      if (!(error instanceof QmpUnsentError)) throw error;
    });
    if (asked === undefined) return entry;
    const name = asked.running ? "running" : "paused";
    // One that has not got all of its memory, and whose migration has ended without it.
    const isBroken = brokenInPostcopy.includes(asked.status);
    entry.state = { name, reason: reasons[name][isBroken ? "postcopyFailed" : "unknown"] };
    return entry;
  }

  keepHandleOf(
    domain: Domain,
    it: QemuHandle,
    more: Partial<Pick<LiveFile, "leaving" | "broken">> = {},
  ): Promise<void> {
    return this.keep(domain, { incoming: null, handle: it, directory: it.directory, ...more });
  }

  /** Its QEMU is gone. */
  async leave(entry: ManagedDomain, why: WhyStopped) {
    if (entry.live === null) return;
    this.#stop(entry, why);
    await this.#lives.remove(entry.uuid);
    this.#tellStopped(entry, why);
    this.#forgetTransient(entry);
  }

  /** So is its definition then. What is kept of its QEMU goes last: by it, a restarted daemon knows what was to go. */
  async leaveForGood(entry: ManagedDomain, why: WhyStopped) {
    if (entry.live !== null) {
      this.#stop(entry, why);
      this.#tellStopped(entry, why);
    }
    if (entry.definition !== null) await this.undefine(entry);
    await this.#lives.remove(entry.uuid);
    this.#forgetTransient(entry);
  }

  #stop(entry: ManagedDomain, why: WhyStopped): void {
    entry.whyStopped = sentence(why, entry.live?.why ?? null);
    void this.#logOf(entry.name)?.write(this.#options.clock.now(), `the guest has stopped: ${why}`);
    entry.live = null;
    entry.state = { name: "shutoff", reason: reasons.shutoff[why] };
  }

  #logOf(name: string): GuestLog | undefined {
    const { logDirectory } = this.#options.hosting;
    return logDirectory === undefined ? undefined : new GuestLog(logDirectory, name);
  }

  /** Where QEMU makes the sockets of channels; as a user of its own it cannot make them in the daemon's directory. */
  async #channelDirectory(): Promise<string> {
    const { runDirectory, hosting } = this.#options;
    if (hosting.user === undefined) return runDirectory;
    const directory = join(runDirectory, "channels");
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await chown(directory, hosting.user.uid, hosting.user.gid);
    return directory;
  }

  /** To libvirt's listeners a crash is a failure. */
  #tellStopped = (entry: ManagedDomain, why: WhyStopped): void =>
    this.tell(entry, "stopped", why === "crashed" ? "failed" : why);

  /** @throws LibvirtError when something else is being done with it. */
  checkIdle({ job }: ManagedDomain): void {
    if (job !== null) throw no("OPERATION_INVALID", `another job is active: ${job.what}`);
  }

  /** @throws LibvirtError when it does not run. */
  liveOf({ live }: ManagedDomain): Live {
    if (live === null) throw no("OPERATION_INVALID", "domain is not running");
    return live;
  }

  setJob(entry: ManagedDomain, job: Job | null): void {
    entry.job = job;
    if (job !== null) return;
    // It ended while its migration was being concluded.
    if (entry.live?.gone) void this.leave(entry, entry.live.endsAs);
    this.#forgetTransient(entry);
  }

  /** Its place in the list, made when it has none. */
  entryFor = (domain: Domain): ManagedDomain => this.#entry(domain);

  #entry({ name, uuid }: Domain): ManagedDomain {
    let entry = this.#byUuid.get(uuid);
    if (entry === undefined) {
      const state = { name: "shutoff", reason: reasons.shutoff.unknown } as const;
      const { bandwidthMiBps, diskBandwidthMiBps, maxDowntimeMs } = defaultLimits;
      const limits = { bandwidthMiBps, diskBandwidthMiBps, maxDowntimeMs };
      entry = {
        name,
        uuid,
        definition: null,
        autostart: false,
        live: null,
        state,
        job: null,
        limits,
        whyStopped: null,
      };
      this.#byUuid.set(uuid, entry);
    }
    return entry;
  }

  #forgetTransient({ uuid, definition, live, job }: ManagedDomain): void {
    if (definition === null && live === null && job === null) this.#byUuid.delete(uuid);
  }
}

/** How it has stopped, with QEMU's own words. */
function sentence(how: WhyStopped, why: Cause | null): string | null {
  if (why === null || (how !== "crashed" && how !== "failed")) return null;
  return [`${how}: ${why.message}`, ...(why.qemu ?? [])].join(": ");
}

/** QEMUs that are asked for what they know, and have no guest. */
const factsPrefix = "facts-";
/** Where a QEMU is let in to a tunnel, which goes through this process. */
export const tunnelPrefix = "out-";

/** A daemon that was killed while it asked, or had a tunnel, has left them. */
async function removeLeft(runDirectory: string): Promise<void> {
  for (const name of await readdir(runDirectory)) {
    if (![factsPrefix, tunnelPrefix].some((it) => name.startsWith(it))) continue;
    const directory = join(runDirectory, name);
    killByArgument(`${directory}/`);
    await rm(directory, { recursive: true, force: true });
  }
}
