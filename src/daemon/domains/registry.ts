// The domains of a host: one domain machine per uuid, and its state as libvirt clients see it. Names and uuids are reserved
// before anything is awaited. Upholds G1: no other file starts, stops or continues a guest's QEMU.

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
  /** Asks the host to which a guest was migrated to give it back; rejects with the reason. */
  readonly askBack: (uuid: string, away: Away) => Promise<void>;
  /** Reports errors for which no caller waits. */
  readonly warn: (sentence: string) => void;
}

/** The departure of a guest from this host: the reason for its end, and whether its definition is removed. */
export interface Departure {
  readonly why: WhyStopped;
  readonly undefine?: boolean;
  /** Keeps the record on disk, so that a restarted host recovers what could not be written now. */
  readonly keepsRecord?: boolean;
}

type DomainSnapshot = ReturnType<ManagedDomain["authority"]["getSnapshot"]>;

/** Time limit of a request on a domain machine that is in an unsettled state. */
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
  /** Why each guest leaves, for the effect that removes it; by uuid. */
  readonly #departures = new Map<string, Departure>();
  /** The libvirt error of the last failed effect, by uuid. */
  readonly #errors = new Map<string, LibvirtError>();
  /** Uuids of guests that have a record on disk. */
  readonly #recorded = new Set<string>();
  readonly #away: AwayGuests;
  /** The host that asks for its guest back, by uuid. */
  readonly #conceded = new Map<string, Away>();
  /** The number of definitions that are being written, by uuid. */
  readonly #defining = new Map<string, number>();
  /** True until every guest of a restarted host has been examined. */
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

  /** Reads the definitions. `examineAll` in recovery.ts finds the running guests. */
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
        options.warn(`the definition of ${uuid} cannot be read and is not changed: ${messageOf(error)}`);
      }
    }
    return domains;
  }

  /** Marks the examination of a restarted host as complete: from now on, a new domain has no past on this host. */
  examined(): void {
    this.#restarted = false;
    for (const entry of this.#byUuid.values())
      if (entry.authority.getSnapshot().matches("examining"))
        entry.authority.send({ type: "host.examined", found: { left: "nothing" } });
  }

  /** Detaches from the guests without changing them: this process neither observes them nor attaches to their QEMUs any more. */
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

  /** @throws LibvirtError XML_ERROR listing every fault of the text. */
  parse(xml: string): Domain {
    try {
      return parseDomain(xml);
    } catch (error) {
      throw error instanceof DomainXmlError
        ? libvirtError("XML_ERROR", error.message, { cause: error })
        : error;
    }
  }

  /** Rejects a domain whose name or uuid belongs to another, including reserved ones. @throws LibvirtError */
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
   * Sends a request to the domain's machine, which reserves the guest in the same step.
   * @throws LibvirtError with the machine's reason when it rejects the request, or when the guest's state is not known yet.
   */
  async request(entry: ManagedDomain, event: DomainRequest): Promise<void> {
    await this.#until(entry, (snapshot) => !snapshot.hasTag("unsettled"));
    this.requestNow(entry, event);
  }

  /** Like `request`, for a caller that must not wait between its own check and the reservation. */
  requestNow({ authority }: ManagedDomain, event: DomainRequest): void {
    let why: string | undefined;
    const subscription = authority.on("refused", (notice) => {
      why = notice.why;
    });
    authority.send(event);
    subscription.unsubscribe();
    if (why !== undefined) throw libvirtError("OPERATION_INVALID", why);
  }

  /** @throws LibvirtError when the machine does not reach that state in time. */
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
              libvirtError("OPERATION_TIMEOUT", `the state of domain ${name} is not known yet; try again`),
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

  /** @throws LibvirtError of the failed effect. */
  #throwFailure({ uuid }: ManagedDomain, failed: string | null, otherwise: string): never {
    const error = this.#errors.get(uuid);
    this.#errors.delete(uuid);
    throw error ?? libvirtError("OPERATION_FAILED", failed ?? otherwise);
  }

  /** Keeps the libvirt error of an effect for the request that waits for it. */
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

  /** Boots the domain. @throws LibvirtError when the machine rejects the start, or QEMU fails to start. */
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

  /** Has the host of an away guest give it up durably before this host starts it (G1). @throws LibvirtError */
  async #askBack(entry: ManagedDomain): Promise<void> {
    const { away, name, uuid, authority } = entry;
    if (away === null) return;
    try {
      await this.options.askBack(uuid, away);
    } catch (error) {
      const since = new Date(away.sinceMs).toISOString();
      throw libvirtError(
        "OPERATION_INVALID",
        `domain '${name}' is away since ${since}: it is on ${away.hostname || "another host"} after migration ${away.migrationId}, and ${messageOf(error)}; if it certainly does not run there, give that copy up with: switchover release ${name}`,
        { cause: error },
      );
    }
    // A concession is valid only for the departure that it was requested for.
    if (entry.away !== away)
      throw libvirtError(
        "OPERATION_INVALID",
        `domain '${name}' was moved by another request meanwhile; start it again`,
      );
    authority.send({ type: "peer.conceded" });
    await this.#acted(entry);
  }

  /** Gives a guest back to the host that it came from, which then starts it. Durable when it resolves. @throws LibvirtError */
  async concede(entry: ManagedDomain, to: Away): Promise<void> {
    await this.#until(entry, (snapshot) => !snapshot.hasTag("unsettled"));
    const { away } = entry;
    // Already given up, but the other host was not informed. A record that could not be removed is written again.
    if (away?.given === true && away.migrationId === to.migrationId) return this.setAway(entry.uuid, away);
    this.#conceded.set(entry.uuid, to);
    this.requestNow(entry, { type: "peer.concedeRequested" });
    await this.#acted(entry);
  }

  /** Defines a domain that another host has not given up yet; it can be started here only after that (G1). */
  async defineAway(domain: Domain, away: Away): Promise<ManagedDomain> {
    this.checkIdentity(domain);
    const known = this.#byUuid.get(domain.uuid);
    if (known === undefined || known.away !== null) await this.setAway(domain.uuid, away);
    else await this.concede(known, away);
    return this.define(domain);
  }

  /** Returns whether this offline migration moved the definition of a guest away for good. */
  hasGiven(uuid: string, migrationId: string): boolean {
    const away = this.#away.of(uuid);
    return away?.given === true && away.migrationId === migrationId;
  }

  /** Records that the other host has given the guest up. @throws LibvirtError when the guest came by another migration. */
  async conceded(entry: ManagedDomain, migrationId: string, secret: string): Promise<void> {
    const { away } = entry;
    if (away?.migrationId !== migrationId || away.secret === undefined || !isSame(away.secret, secret))
      throw libvirtError(
        "OPERATION_DENIED",
        `domain '${entry.name}' is not waiting for migration ${migrationId}`,
      );
    await this.request(entry, { type: "peer.conceded" });
    await this.#acted(entry);
  }

  /** Effect of the domain machine: records a concession, or that the guest of an unresolved migration is given up. */
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
   * Records an operator's decision that this host's QEMU of a quarantined guest is the guest; `record` makes it durable.
   * @throws LibvirtError when this host has no QEMU of it, or it does not answer, or it lacks part of the guest's memory.
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
        `this host has no QEMU of the guest; release it with: switchover release ${name}`,
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

  /** Ends a quarantine, or declares that an away guest does not run elsewhere, for an operator. @throws LibvirtError */
  async release(entry: ManagedDomain): Promise<void> {
    const isQuarantined = quarantineOf(entry) !== null;
    if (isQuarantined && entry.live !== null)
      throw libvirtError(
        "OPERATION_INVALID",
        `this host has a QEMU of the guest (pid ${entry.live.guest.process.pid}); destroy the domain to give it up, or adopt it with: switchover adopt ${entry.name}`,
      );
    await this.request(entry, { type: "operator.releaseRequested" });
    if (!isQuarantined) return this.#acted(entry);
    // The guest is examined again; where another host may run it, it becomes away instead.
    if (entry.authority.getSnapshot().matches("examining"))
      entry.authority.send({ type: "host.examined", found: { left: "nothing" } });
    await this.#givenUp(entry, "this host's copy of the guest could not be given up");
    this.#forgetTransient(entry);
  }

  async suspend(entry: ManagedDomain): Promise<void> {
    const { guest } = this.liveOf(entry);
    if (entry.state.name === "paused") return;
    await this.request(entry, { type: "operator.suspendRequested" });
    const { authority, job } = entry;
    // `virsh migrate --timeout` suspends the guest this way, and does not resume it after a failed migration.
    const forMigration = authority.getSnapshot().matches("departing") ? job?.suspend : undefined;
    if (authority.getSnapshot().matches("active")) await this.#acted(entry);
    else if (forMigration !== undefined) await forMigration();
    // A guest that a failed post-copy left here.
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

  /** Presses the guest's power or reset button. */
  async press(entry: ManagedDomain, button: "system_powerdown" | "system_reset"): Promise<void> {
    const { guest } = this.liveOf(entry);
    const type = button === "system_reset" ? "operator.resetRequested" : "operator.shutdownRequested";
    await this.request(entry, { type });
    await guest.process.main.execute(button, {});
  }

  /** Ends the guest's QEMU for good. During a migration this host's side ends it first. @throws LibvirtError */
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

  /** Waits until this host's copy of the guest is gone. @throws LibvirtError when it is not, or when that is not durable. */
  async #givenUp(entry: ManagedDomain, otherwise: string): Promise<void> {
    const isOver = (snapshot: DomainSnapshot) => !snapshot.matches("ending") && !snapshot.hasTag("unsettled");
    const snapshot = await this.#until(entry, isOver, Number.POSITIVE_INFINITY);
    const { failed } = snapshot.context;
    if (failed !== null || snapshot.hasTag("quarantined")) this.#throwFailure(entry, failed, otherwise);
  }

  /** Waits until the effect of a request on a guest that stays here is complete. */
  async #acted(entry: ManagedDomain): Promise<void> {
    const { context } = await this.#until(entry, (snapshot) => !snapshot.hasTag("unsettled"));
    if (context.failed !== null) this.#throwFailure(entry, context.failed, "");
  }

  /** Reserves the guest for a migration. Durable when it resolves, so that a restarted host finds the reservation. */
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

  /** Reserves name and uuid for an arriving guest. @throws LibvirtError when another domain or request prevents it. */
  async arrive(domain: Domain, migrationId: string, destroy: () => Promise<void>): Promise<ManagedDomain> {
    this.checkIdentity(domain);
    const entry = this.entryFor(domain);
    try {
      // The source has the guest: a domain that is just starting here would be a second copy (G1).
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

  /** Returns the state that the guest's QEMU reports; the last known state when QEMU does not answer. */
  async foundOf({ live, state }: ManagedDomain): Promise<Found> {
    if (live === null) return { left: "nothing" };
    const { main } = live.guest.process;
    const running = await main.execute("query-status", {}).then(
      (status) => status.running,
      () => state.name === "running",
    );
    return { left: running ? "running" : "paused" };
  }

  /** Reports the end of a migration on this host to the domain machine. Resolves when the domain is settled. */
  async migrationEnded(
    entry: ManagedDomain,
    migrationId: string,
    found: Found,
    departure: Departure,
  ): Promise<void> {
    // The guest was given up meanwhile and may belong to another migration by now.
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

  /** @throws LibvirtError CONFIG_UNSUPPORTED listing everything that is not supported. */
  build = (domain: Domain): Promise<BuiltQemu> => this.#builder.build(domain);

  /** Queried once per binary. */
  factsOf = (binary: string): Promise<QemuFacts> => this.#builder.factsOf(binary);

  /** Records that a guest's QEMU exited while this host did not observe it. */
  noteGone(entry: ManagedDomain, why: Cause): void {
    entry.whyStopped = sentence("failed", why);
  }

  logOf(name: string): GuestLog | undefined {
    const { logDirectory } = this.options.hosting;
    return logDirectory === undefined ? undefined : new GuestLog(logDirectory, name);
  }

  /** Writes the guest's record durably, so that a restarted daemon finds this QEMU. */
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
    // This replaces the record that stands for an away entry that could not be written, so the entry is written first.
    await this.#away.catchUp(domain.uuid);
    this.#recorded.add(domain.uuid);
    await this.records.presences.write(domain.uuid, JSON.stringify(whole));
  }

  /** A failed write does not undo the guest's arrival: a restarted daemon finds it by the record of its start or migration. */
  async #keepOrComplain(domain: Domain, handle: QemuHandle, more: Partial<Presence>): Promise<void> {
    try {
      await this.keepHandleOf(domain, handle, more);
    } catch (error) {
      this.options.warn(`the record of ${domain.name} cannot be written: ${messageOf(error)}`);
    }
  }

  keepHandleOf(domain: Domain, handle: QemuHandle, more: Partial<Presence> = {}): Promise<void> {
    return this.keep(domain, { incoming: null, handle, directory: handle.directory, ...more });
  }

  /** Returns the guest's record on disk; undefined when there is none. @throws Error when it is damaged. */
  async presenceOf(uuid: string): Promise<Presence | undefined> {
    const text = await this.records.presences.read(uuid);
    return text === undefined ? undefined : readPresence(text);
  }

  /** Makes an incoming guest visible before it runs: paused, with its XML. */
  showArriving(entry: ManagedDomain, domain: Domain, destroy: () => Promise<void>): void {
    entry.arriving = { id: this.#nextId++, domain, destroy };
    entry.state = { name: "paused", reason: reasons.paused.migration };
  }

  /** Returns the name of a registered domain. */
  nameOf = (uuid: string): string | undefined => this.#byUuid.get(uuid)?.name;

  /** Returns the reason of the guest's quarantine; null when it is not quarantined or not registered here. */
  quarantineOf(uuid: string): string | null {
    const entry = this.#byUuid.get(uuid);
    return entry === undefined ? null : quarantineOf(entry);
  }

  /** Keeps the record after a start was refused because a QEMU of the guest is alive, so that the next start is refused too (G1). */
  keepRecordOf(uuid: string): void {
    this.#departures.set(uuid, { why: "failed", keepsRecord: true });
  }

  /** Notes that a record was found on disk at startup. */
  noteRecorded(uuid: string): void {
    this.#recorded.add(uuid);
  }

  /** Registers a guest's QEMU on this host, however it was started. */
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
      // During a migration this host also terminates QEMU itself.
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
      // During a migration its own side handles the exit.
      if (entry.live === live && entry.job === null) this.#exited(entry, live);
    });
    await this.#keepOrComplain(domain, guest.process.handle, more);
    const broken = more.broken === true;
    // The state of a guest whose QEMU does not answer.
    entry.state = { name: "running", reason: reasons.running[broken ? "postcopyFailed" : "unknown"] };
    const asked = await statusOf(main).catch((error: unknown) => {
      if (!(error instanceof QmpUnsentError)) throw error;
    });
    if (asked === undefined) return entry;
    const name = asked.running ? "running" : "paused";
    // A guest that lacks part of its memory and whose migration ended without it.
    const isBroken = brokenInPostcopy.includes(asked.status);
    entry.state = { name, reason: reasons[name][isBroken ? "postcopyFailed" : "unknown"] };
    return entry;
  }

  #exited({ uuid, authority }: ManagedDomain, { endsAs }: Live): void {
    this.#departures.set(uuid, { why: endsAs });
    authority.send({ type: "process.exited" });
  }

  /** Shows the guest as stopped to libvirt clients; its migration may still have to inform the other host. */
  noteStopped(entry: ManagedDomain, why: WhyStopped): void {
    const { live } = entry;
    if (live === null && entry.state.name === "shutoff") return;
    entry.whyStopped = sentence(why, live?.why ?? null);
    void this.logOf(entry.name)?.write(this.options.clock.now(), `the guest has stopped: ${why}`);
    entry.live = null;
    entry.state = { name: "shutoff", reason: reasons.shutoff[why] };
    // libvirt's event for a crash is `failed`.
    if (live !== null) this.tell(entry, "stopped", why === "crashed" ? "failed" : why);
  }

  /** Effect of the domain machine: removes a guest whose QEMU is gone. Its record on disk is removed last. */
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

  /** @throws LibvirtError when another job is active. */
  checkIdle({ job }: ManagedDomain): void {
    if (job !== null) throw libvirtError("OPERATION_INVALID", `another job is active: ${job.what}`);
  }

  /** @throws LibvirtError when the domain is not running. */
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
    // Its QEMU exited while its migration was being completed.
    if (entry.live?.gone) this.#exited(entry, entry.live);
    this.#forgetTransient(entry);
  }

  /** Durable when it resolves. Null means that the guest is not elsewhere. When it rejects, the guest still counts as away. */
  async setAway(uuid: string, away: Away | null): Promise<void> {
    try {
      await this.#away.set(uuid, away);
    } finally {
      const entry = this.#byUuid.get(uuid);
      if (entry !== undefined) entry.away = this.#away.of(uuid);
    }
  }

  /** Returns the domain's entry, which reserves its name and uuid; creates it if needed. */
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

  /** Removes a domain without a definition when nothing of its guest is left. */
  #forgetTransient(entry: ManagedDomain): void {
    const { uuid, definition, job, authority } = entry;
    const isIdle = authority.getSnapshot().matches("inactive") && !this.#defining.has(uuid);
    if (definition !== null || job !== null || isActive(entry) || !isIdle) return;
    if (this.#byUuid.get(uuid) !== entry) return;
    this.#byUuid.delete(uuid);
    authority.stop();
  }
}

/** Returns false for an entry that only reserves a name. */
const isThere = (entry: ManagedDomain): boolean =>
  entry.definition !== null ||
  entry.job !== null ||
  isActive(entry) ||
  quarantineOf(entry) !== null ||
  entry.authority.getSnapshot().matches("starting");

/** Returns how a guest stopped, with QEMU's messages; null after an orderly end. */
function sentence(how: WhyStopped, why: Cause | null): string | null {
  if (why === null || (how !== "crashed" && how !== "failed")) return null;
  return [`${how}: ${why.message}`, ...(why.qemu ?? [])].join(": ");
}
