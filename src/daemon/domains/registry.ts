// The domains of a host: one domain machine for each uuid, and what libvirt's clients see of it. Names and uuids are
// reserved before anything is awaited. Upholds G1: no other file gives a start, a stop or a `cont` to a guest's QEMU.

import { join } from "node:path";
import { createActor } from "xstate";
import type { QemuFacts } from "../../drivers/domain-xml/checks/host-facts.js";
import { type Domain, parseDomain } from "../../drivers/domain-xml/domain.js";
import type { BuiltQemu } from "../../drivers/domain-xml/qemu-args/build.js";
import { DomainXmlError } from "../../drivers/domain-xml/xml/errors.js";
import type { LibvirtError } from "../../drivers/libvirt/rpc/libvirt-error.js";
import { brokenInPostcopy } from "../../drivers/qemu/migration/migration-status.js";
import type { Monitor } from "../../drivers/qemu/monitor/commands.js";
import { QmpUnsentError } from "../../drivers/qemu/monitor/errors.js";
import { GuestLog } from "../../drivers/qemu/process/guest-log.js";
import type { Hosting, QemuHandle } from "../../drivers/qemu/process/spec.js";
import { apart } from "../../effects/isolate-callback.js";
import type { Clock } from "../../effects/ports.js";
import { asRunningGuest, type RunningGuest } from "../../library/local/running-guest.js";
import type { DomainRequest, Found } from "../../machines/domain/machine.js";
import { defaultLimits } from "../../protocol/convergence/limits.js";
import { type Cause, messageOf } from "../../protocol/effect-result.js";
import { isSame } from "../migrations/evidence.js";
import { libvirtError } from "../rpc/errors.js";
import { answeringQemu, isRunningWhole } from "./adoption.js";
import { AwayGuests } from "./away-guests.js";
import { type Authority, bindDomains } from "./effects.js";
import type { Job } from "./job.js";
import {
  details,
  type EventName,
  isActive,
  type LifecycleEvent,
  type Live,
  type ManagedDomain,
  quarantineOf,
  reasons,
  type WhyStopped,
} from "./managed-domain.js";
import { QemuBuilder, removeLeft } from "./qemu-builder.js";
import { type Away, type DomainRecords, openDomainRecords, type Presence, readPresence } from "./records.js";

type Kept = Pick<Presence, "incoming" | "handle" | "directory"> & Partial<Presence>;

export interface DomainsOptions {
  readonly stateDirectory: string;
  readonly runDirectory: string;
  readonly hosting: Hosting;
  readonly clock: Clock;
  /** The identity of this host's journal. */
  readonly journal: string;
  /** Asks the host that a guest left for to give it back; rejects with the reason. */
  readonly askBack: (uuid: string, away: Away) => Promise<void>;
  /** What went wrong where nobody waits for an answer. */
  readonly warn: (sentence: string) => void;
}

/** How a guest goes: what its end means, and whether its definition goes with it. */
export interface Departure {
  readonly why: WhyStopped;
  readonly undefine?: boolean;
  /** Its record on disk stays: a restarted host finds by it what could not be written now. */
  readonly keepsRecord?: boolean;
}

type DomainSnapshot = ReturnType<ManagedDomain["authority"]["getSnapshot"]>;

/** How long a request waits for a domain machine that is between two states. */
const settleLimitMs = 10_000;

async function statusOf(main: Monitor): Promise<{ running: boolean; status: string }> {
  const { running } = await main.execute("query-status", {});
  const { status = "" } = await main.execute("query-migrate", {});
  return { running, status };
}

export class Domains {
  readonly options: DomainsOptions;
  readonly records: DomainRecords;
  /** Ends the story of an unresolved migration whose guest an operator has given up. */
  onGivenUp: (uuid: string) => Promise<void> = async () => {};
  readonly #machine: Authority;
  readonly #byUuid = new Map<string, ManagedDomain>();
  readonly #listeners = new Set<(event: LifecycleEvent) => void>();
  readonly #builder: QemuBuilder;
  /** By uuid: why the guest goes, for the effect that forgets it. */
  readonly #departures = new Map<string, Departure>();
  /** By uuid: libvirt's error of the last effect that failed. */
  readonly #errors = new Map<string, LibvirtError>();
  /** Uuids of which a record of a guest is on disk. */
  readonly #recorded = new Set<string>();
  readonly #away: AwayGuests;
  /** By uuid: the host that asks for its guest back. */
  readonly #conceded = new Map<string, Away>();
  /** By uuid: definitions that are being written. */
  readonly #defining = new Map<string, number>();
  /** Until every guest of a restarted host has been examined. */
  #restarted = true;
  #stopped = false;
  #nextId = 1;

  private constructor(options: DomainsOptions, records: DomainRecords, away: AwayGuests) {
    this.options = options;
    this.records = records;
    this.#away = away;
    this.#builder = new QemuBuilder(options);
    this.#machine = bindDomains(this);
  }

  /** Reads the definitions. What runs is found by `examineAll` in recovery.ts. */
  static async open(options: DomainsOptions): Promise<Domains> {
    const records = await openDomainRecords(options.stateDirectory);
    const domains = new Domains(options, records, await AwayGuests.open(records));
    const autostarted = await records.autostarts.readAll();
    await removeLeft(options.runDirectory);
    for (const [uuid, xml] of await records.definitions.readAll()) {
      try {
        const domain = parseDomain(xml);
        const entry = domains.entryFor(domain);
        entry.definition = domain;
        entry.autostart = autostarted.has(uuid);
      } catch (error) {
        options.warn(`the definition of ${uuid} cannot be read and is left as it is: ${messageOf(error)}`);
      }
    }
    return domains;
  }

  /** Every guest that was here is known from now on: a new domain has no past on this host. */
  examined(): void {
    this.#restarted = false;
    for (const entry of this.#byUuid.values())
      if (entry.authority.getSnapshot().matches("examining"))
        entry.authority.send({ type: "host.examined", found: { left: "nothing" } });
  }

  /** Leaves the guests as they are: this process neither follows them nor looks for their QEMUs any more. */
  stop(): void {
    this.#stopped = true;
    for (const { live } of this.#byUuid.values()) live?.guest.release();
  }

  get isStopped(): boolean {
    return this.#stopped;
  }

  get all(): readonly ManagedDomain[] {
    return [...this.#byUuid.values()].filter(isThere);
  }

  /** @throws LibvirtError NO_DOMAIN */
  byUuid(uuid: string): ManagedDomain {
    const found = this.#byUuid.get(uuid);
    if (found === undefined || !isThere(found))
      throw libvirtError("NO_DOMAIN", `no domain with matching uuid '${uuid}'`);
    return found;
  }

  /** @throws LibvirtError NO_DOMAIN */
  byName(name: string): ManagedDomain {
    const found = this.all.find((entry) => entry.name === name);
    if (found === undefined) throw libvirtError("NO_DOMAIN", `no domain with matching name '${name}'`);
    return found;
  }

  /** @throws LibvirtError NO_DOMAIN */
  byId(id: number): ManagedDomain {
    const found = this.all.find(({ live, arriving }) => (live ?? arriving)?.id === id);
    if (found === undefined) throw libvirtError("NO_DOMAIN", `no domain with matching id ${id}`);
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
      throw error instanceof DomainXmlError
        ? libvirtError("XML_ERROR", error.message, { cause: error })
        : error;
    }
  }

  /** Rejects a domain whose name or uuid is another's, reserved ones included. @throws LibvirtError */
  checkIdentity({ name, uuid }: Pick<Domain, "name" | "uuid">): void {
    const entries = [...this.#byUuid.values()];
    const namesake = entries.find((entry) => entry.name === name && entry.uuid !== uuid);
    if (namesake !== undefined)
      throw libvirtError("OPERATION_FAILED", `domain '${name}' already exists with uuid ${namesake.uuid}`);
    const other = this.#byUuid.get(uuid);
    if (other !== undefined && other.name !== name)
      throw libvirtError("OPERATION_FAILED", `domain '${other.name}' is already defined with uuid ${uuid}`);
  }

  /**
   * Puts a request to the domain's machine, which reserves the guest in the same step.
   * @throws LibvirtError with the machine's reason when it rejects the request, or when the guest is not known yet.
   */
  async request(entry: ManagedDomain, event: DomainRequest): Promise<void> {
    await this.#until(entry, (snapshot) => !snapshot.hasTag("unsettled"));
    this.requestNow(entry, event);
  }

  /** As `request`, for a caller that must not wait between a check of its own and the reservation. */
  requestNow({ authority }: ManagedDomain, event: DomainRequest): void {
    let why: string | undefined;
    const heard = authority.on("refused", (notice) => {
      why = notice.why;
    });
    authority.send(event);
    heard.unsubscribe();
    if (why !== undefined) throw libvirtError("OPERATION_INVALID", why);
  }

  /** @throws LibvirtError when the machine does not come there in time. */
  async #until(
    { authority, name }: ManagedDomain,
    isReached: (snapshot: DomainSnapshot) => boolean,
    limitMs = settleLimitMs,
  ) {
    const { clock } = this.options;
    const now = authority.getSnapshot();
    if (isReached(now)) return now;
    return new Promise<typeof now>((resolve, reject) => {
      const timer = Number.isFinite(limitMs)
        ? clock.setTimeout(() => {
            subscription.unsubscribe();
            reject(
              libvirtError("OPERATION_TIMEOUT", `the state of domain ${name} is not known yet; ask again`),
            );
          }, limitMs)
        : undefined;
      const subscription = authority.subscribe((snapshot) => {
        if (!isReached(snapshot)) return;
        if (timer !== undefined) clock.clearTimeout(timer);
        subscription.unsubscribe();
        resolve(snapshot);
      });
    });
  }

  /** @throws LibvirtError of the effect that failed. */
  #throwFailure({ uuid }: ManagedDomain, failed: string | null, otherwise: string): never {
    const error = this.#errors.get(uuid);
    this.#errors.delete(uuid);
    throw error ?? libvirtError("OPERATION_FAILED", failed ?? otherwise);
  }

  /** Keeps libvirt's error of an effect for the request that waits for it. */
  noteError(uuid: string, error: LibvirtError): void {
    this.#errors.set(uuid, error);
  }

  async define(domain: Domain): Promise<ManagedDomain> {
    this.checkIdentity(domain);
    const entry = this.entryFor(domain);
    this.requestNow(entry, { type: "operator.defineRequested" });
    this.#defining.set(entry.uuid, (this.#defining.get(entry.uuid) ?? 0) + 1);
    try {
      await this.records.definitions.write(domain.uuid, domain.xml);
      const known = entry.definition !== null;
      entry.definition = domain;
      this.tell(entry, "defined", known ? "updated" : "added");
      return entry;
    } finally {
      const others = (this.#defining.get(entry.uuid) ?? 1) - 1;
      if (others === 0) this.#defining.delete(entry.uuid);
      else this.#defining.set(entry.uuid, others);
      this.#forgetTransient(entry);
    }
  }

  /** On behalf of a client. @throws LibvirtError */
  async undefineRequested(entry: ManagedDomain): Promise<void> {
    await this.request(entry, { type: "operator.undefineRequested" });
    await this.undefine(entry);
  }

  async undefine(entry: ManagedDomain): Promise<void> {
    if (entry.definition === null)
      throw libvirtError("OPERATION_INVALID", "cannot undefine transient domain");
    if (entry.autostart) await this.setAutostart(entry, false);
    await this.records.definitions.remove(entry.uuid);
    entry.definition = null;
    this.tell(entry, "undefined", "removed");
    this.#forgetTransient(entry);
  }

  /** Durable when it resolves. */
  async setAutostart(entry: ManagedDomain, autostart: boolean): Promise<void> {
    if (entry.definition === null)
      throw libvirtError("OPERATION_INVALID", "cannot set autostart for transient domain");
    if (autostart) await this.records.autostarts.write(entry.uuid, "");
    else await this.records.autostarts.remove(entry.uuid);
    entry.autostart = autostart;
  }

  /** Boots it. @throws LibvirtError when the machine rejects the start, or QEMU does not come up. */
  async start(domain: Domain, { paused }: { paused: boolean }): Promise<ManagedDomain> {
    this.checkIdentity(domain);
    const entry = this.entryFor(domain);
    try {
      await this.#askBack(entry);
      await this.request(entry, { type: "operator.startRequested", paused, xml: domain.xml });
      const isOver = (snapshot: DomainSnapshot) =>
        !snapshot.matches("starting") && !snapshot.matches("leaving");
      const snapshot = await this.#until(entry, isOver, Number.POSITIVE_INFINITY);
      if (!snapshot.matches("active"))
        this.#throwFailure(entry, snapshot.context.failed, "the domain was destroyed while it started");
      return entry;
    } finally {
      this.#forgetTransient(entry);
    }
  }

  /** The host that an away guest left for gives it up, durably, before this one starts it (G1). @throws LibvirtError */
  async #askBack(entry: ManagedDomain): Promise<void> {
    const { away, name, uuid, authority } = entry;
    if (away === null) return;
    try {
      await this.options.askBack(uuid, away);
    } catch (error) {
      const since = new Date(away.sinceMs).toISOString();
      throw libvirtError(
        "OPERATION_INVALID",
        `domain '${name}' is away since ${since}: ${away.hostname || "another host"} has it, by the migration ${away.migrationId}, and ${messageOf(error)}; if it is certain that it does not run there, say so with: switchover release ${name}`,
        { cause: error },
      );
    }
    // A concession belongs to the departure that it was asked about.
    if (entry.away !== away)
      throw libvirtError(
        "OPERATION_INVALID",
        `where domain '${name}' is has changed meanwhile; start it again`,
      );
    authority.send({ type: "peer.conceded" });
    await this.#acted(entry);
  }

  /** Gives a guest back to the host that it came from, which starts it. Durable when it resolves. @throws LibvirtError */
  async concede(entry: ManagedDomain, to: Away): Promise<void> {
    await this.#until(entry, (snapshot) => !snapshot.hasTag("unsettled"));
    const { away } = entry;
    // Given up before, which the other host has not been told. A record that could not be removed is written again.
    if (away?.given === true && away.migrationId === to.migrationId) return this.setAway(entry.uuid, away);
    this.#conceded.set(entry.uuid, to);
    this.requestNow(entry, { type: "peer.concedeRequested" });
    await this.#acted(entry);
  }

  /** Defines a domain whose guest another host has not given up yet: this one starts it only when it has (G1). */
  async defineAway(domain: Domain, away: Away): Promise<ManagedDomain> {
    this.checkIdentity(domain);
    const known = this.#byUuid.get(domain.uuid);
    if (known === undefined || known.away !== null) await this.setAway(domain.uuid, away);
    else await this.concede(known, away);
    return this.define(domain);
  }

  /** Whether the definition of a guest that is not here any more left by this offline migration, for good. */
  hasGiven(uuid: string, migrationId: string): boolean {
    const away = this.#away.of(uuid);
    return away?.given === true && away.migrationId === migrationId;
  }

  /** The other host has given the guest up. @throws LibvirtError when that is not the migration by which it came. */
  async conceded(entry: ManagedDomain, migrationId: string, secret: string): Promise<void> {
    const { away } = entry;
    if (away?.migrationId !== migrationId || away.secret === undefined || !isSame(away.secret, secret))
      throw libvirtError(
        "OPERATION_DENIED",
        `domain '${entry.name}' does not wait for the end of ${migrationId}`,
      );
    await this.request(entry, { type: "peer.conceded" });
    await this.#acted(entry);
  }

  /** The effect of the domain machine that records a concession, or that the guest of an unresolved migration is given up. */
  async recordAway(uuid: string): Promise<void> {
    const to = this.#conceded.get(uuid);
    this.#conceded.delete(uuid);
    if (to !== undefined) return this.setAway(uuid, to);
    if ((this.#byUuid.get(uuid)?.definition ?? null) !== null) {
      const presence = await this.presenceOf(uuid).catch(() => undefined);
      const migrationId = presence?.departing ?? presence?.incoming ?? "unknown";
      await this.setAway(uuid, { migrationId, hostname: "", uri: null, sinceMs: this.options.clock.now() });
    }
    await this.onGivenUp(uuid);
  }

  /**
   * An operator says that the QEMU which this host holds of a quarantined guest is the guest. `record` makes that durable.
   * @throws LibvirtError when no QEMU is here, or it does not answer, or has not got all of the guest.
   */
  async adopt(
    entry: ManagedDomain,
    record: (presence: Presence | undefined) => Promise<void>,
  ): Promise<void> {
    const { live, uuid, name } = entry;
    const why = quarantineOf(entry);
    if (why !== null && live === null)
      throw libvirtError(
        "OPERATION_INVALID",
        `no QEMU of the guest is here; say so with: switchover release ${name}`,
      );
    await this.request(entry, { type: "operator.adoptRequested" });
    const examined = (found: Found) => entry.authority.send({ type: "host.examined", found });
    try {
      if (live === null) throw libvirtError("OPERATION_INVALID", "domain is not running");
      const { handle } = live.guest.process;
      const presence = await this.presenceOf(uuid).catch(() => undefined);
      const answering = await answeringQemu(live, { clock: this.options.clock, log: this.logOf(name) });
      const running = await isRunningWhole(answering);
      await record(presence);
      if (presence?.persistent) await this.define(parseDomain(presence.persistent));
      if (entry.away !== null) await this.setAway(uuid, null);
      if (answering !== live.guest.process)
        await this.enter(live.domain, asRunningGuest(live.guest.spec, answering));
      else await this.keepHandleOf(live.domain, handle);
      entry.state = running
        ? { name: "running", reason: reasons.running.unknown }
        : { name: "paused", reason: reasons.paused.unknown };
      examined({ left: running ? "running" : "paused" });
    } catch (error) {
      examined({ left: "unknown", why: why ?? messageOf(error) });
      throw error;
    }
    if (entry.job !== null) this.setJob(entry, null);
  }

  /** An operator ends a quarantine, or says that an away guest does not run elsewhere. @throws LibvirtError */
  async release(entry: ManagedDomain): Promise<void> {
    const isQuarantined = quarantineOf(entry) !== null;
    if (isQuarantined && entry.live !== null)
      throw libvirtError(
        "OPERATION_INVALID",
        `a QEMU of the guest is here (pid ${entry.live.guest.process.pid}): destroy the domain to give it up, or say that it is the guest with: switchover adopt ${entry.name}`,
      );
    await this.request(entry, { type: "operator.releaseRequested" });
    if (!isQuarantined) return this.#acted(entry);
    // It is examined again; where another host may run the guest, it is away from here instead.
    if (entry.authority.getSnapshot().matches("examining"))
      entry.authority.send({ type: "host.examined", found: { left: "nothing" } });
    await this.#givenUp(entry, "what is here of the guest could not be given up");
    this.#forgetTransient(entry);
  }

  async suspend(entry: ManagedDomain): Promise<void> {
    const { guest } = this.liveOf(entry);
    if (entry.state.name === "paused") return;
    await this.request(entry, { type: "operator.suspendRequested" });
    const { authority, job } = entry;
    // `virsh migrate --timeout` suspends the guest so, and does not resume it after a migration that failed.
    const forMigration = authority.getSnapshot().matches("departing") ? job?.suspend : undefined;
    if (authority.getSnapshot().matches("active")) await this.#acted(entry);
    else if (forMigration !== undefined) await forMigration();
    // Of what a migration has left.
    else await guest.process.main.execute("stop", {});
    entry.state = { name: "paused", reason: reasons.paused[forMigration ? "migration" : "user"] };
    this.tell(entry, "suspended", forMigration ? "migrated" : "paused");
  }

  async resume(entry: ManagedDomain): Promise<void> {
    this.liveOf(entry);
    await this.request(entry, { type: "operator.resumeRequested" });
    await this.#acted(entry);
    entry.state = { name: "running", reason: reasons.running.unpaused };
    this.tell(entry, "resumed", "unpaused");
  }

  /** A button of the guest is pressed. */
  async press(entry: ManagedDomain, button: "system_powerdown" | "system_reset"): Promise<void> {
    const { guest } = this.liveOf(entry);
    const type = button === "system_reset" ? "operator.resetRequested" : "operator.shutdownRequested";
    await this.request(entry, { type });
    await guest.process.main.execute(button, {});
  }

  /** Ends the guest's QEMU for good. In a migration its side ends it first. @throws LibvirtError */
  async destroy(entry: ManagedDomain): Promise<void> {
    if (entry.arriving !== null) return entry.arriving.destroy();
    if (entry.job !== null && !entry.authority.getSnapshot().matches("quarantined"))
      return entry.job.destroy();
    if (quarantineOf(entry) === null && !entry.authority.getSnapshot().matches("starting"))
      this.liveOf(entry);
    await this.request(entry, { type: "operator.destroyRequested" });
    if (entry.live !== null) entry.live.endsAs = "destroyed";
    this.#departures.set(entry.uuid, { why: "destroyed" });
    await this.#givenUp(entry, "QEMU could not be ended");
    this.#forgetTransient(entry);
  }

  /** Waits until what was here of the guest is gone. @throws LibvirtError when it is not, or when that is not durable. */
  async #givenUp(entry: ManagedDomain, otherwise: string): Promise<void> {
    const isOver = (snapshot: DomainSnapshot) => !snapshot.matches("ending") && !snapshot.hasTag("unsettled");
    const snapshot = await this.#until(entry, isOver, Number.POSITIVE_INFINITY);
    const { failed } = snapshot.context;
    if (failed !== null || snapshot.hasTag("quarantined")) this.#throwFailure(entry, failed, otherwise);
  }

  /** Waits until the effect of a request on a guest that stays is over. */
  async #acted(entry: ManagedDomain): Promise<void> {
    const { context } = await this.#until(entry, (snapshot) => !snapshot.hasTag("unsettled"));
    if (context.failed !== null) this.#throwFailure(entry, context.failed, "");
  }

  /** Reserves the guest for a migration; durable when it resolves, so that a restarted host knows whose guest it is. */
  async depart(entry: ManagedDomain, migrationId: string, more: Partial<Presence> = {}): Promise<void> {
    const { domain, guest } = this.liveOf(entry);
    await this.request(entry, { type: "peer.beginRequested", migrationId });
    try {
      await this.keepHandleOf(domain, guest.process.handle, { ...more, departing: migrationId });
    } catch (error) {
      await this.migrationEnded(entry, migrationId, await this.foundOf(entry), { why: "failed" });
      throw error;
    }
  }

  /** Reserves name and uuid for a guest that arrives. @throws LibvirtError when something stands in its way. */
  async arrive(domain: Domain, migrationId: string, destroy: () => Promise<void>): Promise<ManagedDomain> {
    this.checkIdentity(domain);
    const entry = this.entryFor(domain);
    try {
      // The source has the guest: what is only being started here would be a second copy (G1).
      entry.authority.send({ type: "peer.runsGuest" });
      const isEnded = (snapshot: DomainSnapshot) =>
        !snapshot.matches("ending") && !snapshot.matches("leaving");
      await this.#until(entry, isEnded);
      await this.request(entry, { type: "peer.prepareRequested", migrationId });
    } finally {
      this.#forgetTransient(entry);
    }
    this.showArriving(entry, domain, destroy);
    return entry;
  }

  /** What the guest's QEMU says of it; of one that does not answer, what it was. */
  async foundOf({ live, state }: ManagedDomain): Promise<Found> {
    if (live === null) return { left: "nothing" };
    const { main } = live.guest.process;
    const running = await main.execute("query-status", {}).then(
      (status) => status.running,
      () => state.name === "running",
    );
    return { left: running ? "running" : "paused" };
  }

  /** A migration of the guest is over on this host. Resolves when the domain is at rest. */
  async migrationEnded(
    entry: ManagedDomain,
    migrationId: string,
    found: Found,
    departure: Departure,
  ): Promise<void> {
    // The guest was given up meanwhile: it may be another migration's by now.
    if (entry.authority.getSnapshot().context.migrationId !== migrationId) return;
    entry.arriving = null;
    this.#departures.set(entry.uuid, departure);
    entry.authority.send({ type: "migration.ended", migrationId, found });
    await this.#until(entry, (snapshot) => !snapshot.hasTag("unsettled"), Number.POSITIVE_INFINITY);
    const { live } = entry;
    if (live !== null) {
      const { handle } = live.guest.process;
      await this.#keepOrComplain(live.domain, handle, { broken: found.left === "broken" });
      this.#departures.delete(entry.uuid);
    }
    if (found.left === "unknown") this.options.warn(`${entry.name} is quarantined: ${found.why}`);
    this.#forgetTransient(entry);
  }

  directoryOf = (name: string): string => join(this.options.runDirectory, name);

  /** @throws LibvirtError CONFIG_UNSUPPORTED with everything that is not supported. */
  build = (domain: Domain): Promise<BuiltQemu> => this.#builder.build(domain);

  /** Asked once for each binary. */
  factsOf = (binary: string): Promise<QemuFacts> => this.#builder.factsOf(binary);

  /** The QEMU of a guest ended while this host did not watch it. */
  noteGone(entry: ManagedDomain, why: Cause): void {
    entry.whyStopped = sentence("failed", why);
  }

  logOf(name: string): GuestLog | undefined {
    const { logDirectory } = this.options.hosting;
    return logDirectory === undefined ? undefined : new GuestLog(logDirectory, name);
  }

  /** Durable: a restarted daemon looks for this QEMU. */
  async keep(domain: Domain, where: Kept): Promise<void> {
    const whole = {
      persistent: null,
      leaving: null,
      departing: null,
      secret: null,
      peerJournal: null,
      journal: this.options.journal,
      broken: false,
      begun: false,
      ...where,
      xml: domain.xml,
    } satisfies Presence;
    // The record that stands for what could not be written before is about to be replaced.
    await this.#away.catchUp(domain.uuid);
    this.#recorded.add(domain.uuid);
    await this.records.presences.write(domain.uuid, JSON.stringify(whole));
  }

  /** A guest that is here is here, also when that cannot be written down: the record of its coming finds it again. */
  async #keepOrComplain(domain: Domain, handle: QemuHandle, more: Partial<Presence>): Promise<void> {
    try {
      await this.keepHandleOf(domain, handle, more);
    } catch (error) {
      this.options.warn(`where the QEMU of ${domain.name} is cannot be recorded: ${messageOf(error)}`);
    }
  }

  keepHandleOf(domain: Domain, handle: QemuHandle, more: Partial<Presence> = {}): Promise<void> {
    return this.keep(domain, { incoming: null, handle, directory: handle.directory, ...more });
  }

  /** What is recorded on disk of the guest; undefined when nothing is. @throws Error when it is damaged. */
  async presenceOf(uuid: string): Promise<Presence | undefined> {
    const text = await this.records.presences.read(uuid);
    return text === undefined ? undefined : readPresence(text);
  }

  /** An incoming guest is visible before it runs: paused, with its XML. */
  showArriving(entry: ManagedDomain, domain: Domain, destroy: () => Promise<void>): void {
    entry.arriving = { id: this.#nextId++, domain, destroy };
    entry.state = { name: "paused", reason: reasons.paused.migration };
  }

  /** The name of a domain that has a place here. */
  nameOf = (uuid: string): string | undefined => this.#byUuid.get(uuid)?.name;

  /** Why nothing is known of a guest here; null when the guest is known, or nothing of it is here. */
  quarantineOf(uuid: string): string | null {
    const entry = this.#byUuid.get(uuid);
    return entry === undefined ? null : quarantineOf(entry);
  }

  /** A start was rejected since a QEMU of the guest lives: its record stays, so that the next start is rejected too (G1). */
  keepRecordOf(uuid: string): void {
    this.#departures.set(uuid, { why: "failed", keepsRecord: true });
  }

  /** A record was found on disk at a start. */
  noteRecorded(uuid: string): void {
    this.#recorded.add(uuid);
  }

  /** A guest is on this host from now on, whichever path started its QEMU. */
  async enter(domain: Domain, guest: RunningGuest, more: Partial<Presence> = {}): Promise<ManagedDomain> {
    const entry = this.entryFor(domain);
    const id = entry.arriving?.id ?? this.#nextId++;
    const live: Live = { id, domain, guest, endsAs: "crashed", gone: false, why: null };
    entry.live = live;
    entry.arriving = null;
    const { main } = guest.process;
    const { authority } = entry;
    main.onEvent(({ name, data }) => {
      if (entry.live !== live) return;
      // In a migration QEMU is also told to end by this host.
      if (name === "SHUTDOWN" && live.endsAs === "crashed" && (entry.job === null || data.guest)) {
        live.endsAs = "shutdown";
        this.tell(entry, "shutdown", data.guest ? "guest" : "host");
      }
      if (name === "STOP") authority.send({ type: "monitor.stopped" });
      if (name === "RESUME") authority.send({ type: "monitor.resumed" });
      if (entry.job !== null) return;
      if (name === "STOP") entry.state = { name: "paused", reason: reasons.paused.unknown };
      if (name === "RESUME") entry.state = { name: "running", reason: reasons.running.unpaused };
    });
    void guest.process.exited.then((why) => {
      live.gone = true;
      live.why = why;
      // In a migration its own side sees to it.
      if (entry.live === live && entry.job === null) this.#exited(entry, live);
    });
    await this.#keepOrComplain(domain, guest.process.handle, more);
    const broken = more.broken === true;
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

  #exited({ uuid, authority }: ManagedDomain, { endsAs }: Live): void {
    this.#departures.set(uuid, { why: endsAs });
    authority.send({ type: "process.exited" });
  }

  /** The guest's QEMU is gone, as libvirt's clients see it; its migration may still have to tell the other host. */
  noteStopped(entry: ManagedDomain, why: WhyStopped): void {
    const { live } = entry;
    if (live === null && entry.state.name === "shutoff") return;
    entry.whyStopped = sentence(why, live?.why ?? null);
    void this.logOf(entry.name)?.write(this.options.clock.now(), `the guest has stopped: ${why}`);
    entry.live = null;
    entry.state = { name: "shutoff", reason: reasons.shutoff[why] };
    // To libvirt's listeners a crash is a failure.
    if (live !== null) this.tell(entry, "stopped", why === "crashed" ? "failed" : why);
  }

  /** The effect of the domain machine that forgets a guest whose QEMU is gone. What is kept of it on disk goes last. */
  async forgetQemu(uuid: string): Promise<void> {
    const entry = this.#byUuid.get(uuid);
    const departure = this.#departures.get(uuid) ?? { why: "failed" };
    this.#departures.delete(uuid);
    if (entry === undefined) return;
    entry.arriving = null;
    this.noteStopped(entry, departure.why);
    if (departure.undefine === true && entry.definition !== null) await this.undefine(entry);
    if (departure.keepsRecord !== true && this.#recorded.delete(uuid))
      await this.records.presences.remove(uuid);
  }

  /** @throws LibvirtError when something else is being done with it. */
  checkIdle({ job }: ManagedDomain): void {
    if (job !== null) throw libvirtError("OPERATION_INVALID", `another job is active: ${job.what}`);
  }

  /** @throws LibvirtError when it does not run. */
  liveOf(entry: ManagedDomain): Live {
    const why = quarantineOf(entry);
    if (entry.live === null && why !== null)
      throw libvirtError("OPERATION_INVALID", `the domain is quarantined: ${why}`);
    if (entry.live === null) throw libvirtError("OPERATION_INVALID", "domain is not running");
    return entry.live;
  }

  setJob(entry: ManagedDomain, job: Job | null): void {
    entry.job = job;
    if (job !== null) return;
    // Its QEMU ended while its migration was being concluded.
    if (entry.live?.gone) this.#exited(entry, entry.live);
    this.#forgetTransient(entry);
  }

  /** Durable when it resolves; null: the guest is not elsewhere. When it rejects, the guest is away all the same. */
  async setAway(uuid: string, away: Away | null): Promise<void> {
    try {
      await this.#away.set(uuid, away);
    } finally {
      const entry = this.#byUuid.get(uuid);
      if (entry !== undefined) entry.away = this.#away.of(uuid);
    }
  }

  /** The domain's place, made when it has none: it reserves the name and the uuid. */
  entryFor({ name, uuid }: Pick<Domain, "name" | "uuid">): ManagedDomain {
    let entry = this.#byUuid.get(uuid);
    if (entry === undefined) {
      const { bandwidthMiBps, diskBandwidthMiBps, maxDowntimeMs } = defaultLimits;
      const away = this.#away.of(uuid);
      const input = { uuid, restarted: this.#restarted, away: away !== null };
      const authority = createActor(this.#machine, { input });
      authority.start();
      entry = {
        name,
        uuid,
        authority,
        definition: null,
        autostart: false,
        live: null,
        arriving: null,
        away,
        state: { name: "shutoff", reason: reasons.shutoff.unknown },
        job: null,
        limits: { bandwidthMiBps, diskBandwidthMiBps, maxDowntimeMs },
        whyStopped: null,
      };
      this.#byUuid.set(uuid, entry);
    }
    return entry;
  }

  /** A domain without a definition is there for as long as something of its guest is. */
  #forgetTransient(entry: ManagedDomain): void {
    const { uuid, definition, job, authority } = entry;
    const isIdle = authority.getSnapshot().matches("inactive") && !this.#defining.has(uuid);
    if (definition !== null || job !== null || isActive(entry) || !isIdle) return;
    if (this.#byUuid.get(uuid) !== entry) return;
    this.#byUuid.delete(uuid);
    authority.stop();
  }
}

/** A place that only reserves a name is nobody's domain yet. */
const isThere = (entry: ManagedDomain): boolean =>
  entry.definition !== null ||
  entry.job !== null ||
  isActive(entry) ||
  quarantineOf(entry) !== null ||
  entry.authority.getSnapshot().matches("starting");

/** How a guest has stopped, with QEMU's own words; null after an orderly end. */
function sentence(how: WhyStopped, why: Cause | null): string | null {
  if (why === null || (how !== "crashed" && how !== "failed")) return null;
  return [`${how}: ${why.message}`, ...(why.qemu ?? [])].join(": ");
}
