// One outgoing migration: the source's machine, the domain's QEMU, and the resulting state of the domain.

import { waitFor } from "xstate";
import * as z from "zod/mini";
import { type Domain, parseDomain } from "../../drivers/domain-xml/domain.js";
import { interrupted, wokenSource } from "../../drivers/journal/story.js";
import type { OpenStory } from "../../drivers/journal/types.js";
import { SettlePeer } from "../../drivers/libvirt/client/settle-peer.js";
import type { RpcClient } from "../../drivers/libvirt/rpc/service.js";
import { isAlive } from "../../drivers/platform/procfs.js";
import {
  findSource,
  type SourceHost,
  streamOptionsSchema,
} from "../../drivers/qemu/guest/recovery-records.js";
import { QemuSourceGuest, type StorageCopy } from "../../drivers/qemu/guest/source-guest.js";
import { endProcess } from "../../drivers/qemu/process/end-process.js";
import { endRelay, Relay, relayDirectory } from "../../drivers/relay/relay.js";
import { type Opened, openSource } from "../../effects/actors.js";
import { localSource, type SourceActor } from "../../effects/in-process-peers.js";
import type { SourceGuest, SourcePeer } from "../../effects/ports.js";
import { resolvesWithin, within, withLimit } from "../../effects/within.js";
import { asRunningGuest } from "../../library/local/running-guest.js";
import { askForLimits, askForPostcopy, type Tuned } from "../../library/user-commands.js";
import { defaultLimits, type Limits } from "../../protocol/convergence/limits.js";
import { type Answer, type Cause, messageOf } from "../../protocol/effect-result.js";
import { describeFailure } from "../../protocol/failure.js";
import { confirmCounts } from "../../protocol/host-evidence.js";
import type { Identity, Prepared, SourceReport } from "../../protocol/messages.js";
import { hostOf, type StreamAddress } from "../../protocol/peer-text.js";
import type { StreamOptions } from "../../protocol/stream.js";
import type { Job } from "../domains/job.js";
import {
  endInMigration,
  isInPostcopy,
  isUndecided,
  type ManagedDomain,
  reasons,
} from "../domains/managed-domain.js";
import type { Host } from "../host.js";
import { withOwnCertificates } from "../own-pki.js";
import { reachOf } from "../reach.js";
import { libvirtError } from "../rpc/errors.js";
import type { Said } from "./cookies.js";
import { isSame, receiptOf } from "./evidence.js";
import { type FollowedSource, followSource, tellStanding } from "./source-job-reporter.js";

/** Time limit of Confirm while the source asks the destination itself. */
const confirmLimitMs = 10_000;
/** Time limit for the end of a migration whose guest is destroyed. */
const destroyedLimitMs = 1_000;
/** Time limit of an abort or suspend that a client requests. */
const requestLimitMs = 10_000;
const nothingLeft = { left: "nothing" } as const;

const kept = z.object({ xml: z.string(), undefineSource: z.boolean(), stream: streamOptionsSchema });
type Persisted = z.infer<typeof kept>;

export interface Leaving {
  readonly migrationId: string;
  /** The secret shared with the destination. */
  readonly secret: string;
  /** The connection that began the migration; null for a migration that this host leads itself. */
  readonly client: RpcClient | null;
  /** The guest's name at the destination. */
  readonly name: string;
  readonly undefineSource: boolean;
  readonly abortOnError: boolean;
  /** True if a TCP stream goes through a relay. */
  readonly relayed: boolean;
  readonly limits: Partial<Limits>;
  /** Null when the hosts share the guest's disks. */
  readonly storage: StorageCopy | null;
  readonly stream: StreamOptions;
}

export class Outgoing {
  readonly identity: Identity;
  readonly domain: Domain;
  readonly peer: SourcePeer;
  /** Resolves when the domain is idle again or gone. Never rejects. */
  readonly ended: Promise<SourceReport>;
  readonly followed: FollowedSource;
  /** True if the migration may switch to post-copy. */
  readonly postcopyAllowed: boolean;
  readonly #host: Host;
  readonly #actor: SourceActor;
  readonly #settling: SettlePeer;
  readonly #undefineSource: boolean;
  readonly #guest: SourceGuest;
  readonly #secret: string | null;
  readonly #client: RpcClient | null;
  /** The destination's name and its URI for settling; null before Prepare's reply is known. */
  #destination: { readonly hostname: string; readonly uri: string | null } | null = null;
  /** Started early, so that it is ready when the destination is. */
  #relay: Promise<Relay | null> = Promise.resolve(null);

  /** Reserves the guest, then admits the migration. @throws LibvirtError when the domain is not running or not idle. */
  static async begin(host: Host, entry: ManagedDomain, leaving: Leaving): Promise<Outgoing> {
    const { migrationId, secret, undefineSource } = leaving;
    await host.domains.depart(entry, migrationId, { secret, leaving: undefineSource ? migrationId : null });
    try {
      await host.tokens.admit(entry.uuid, migrationId);
      return Outgoing.#open(host, entry, leaving);
    } catch (error) {
      await host.domains.migrationEnded(entry, migrationId, await host.domains.foundOf(entry), {
        why: "failed",
      });
      throw error;
    }
  }

  static #open(host: Host, entry: ManagedDomain, leaving: Leaving): Outgoing {
    const { domain, guest } = host.domains.liveOf(entry);
    const { clock, deadlines, policy } = host;
    const identity = { migrationId: leaving.migrationId, uuid: entry.uuid, name: leaving.name };
    const { stallMs } = host.config.migration;
    const limits = { ...defaultLimits, stallMs, ...entry.limits, ...leaving.limits };
    const { abortOnError, storage, stream } = leaving;
    const options = { pauseBeforeSwitchover: false, abortOnError, storage, stream };
    const driver = new QemuSourceGuest(guest.process, { clock, ...options });
    const settling = new SettlePeer(clock, reachOf(host.config));
    const record: SourceHost & Persisted = {
      spec: guest.spec,
      qemu: guest.process.handle,
      ...options,
      xml: domain.xml,
      undefineSource: leaving.undefineSource,
    };
    const input = { identity, limits, deadlines, policy };
    const opened = openSource(host.surroundings, input, driver, settling, record);
    const outgoing = new Outgoing(host, entry, domain, identity, opened, driver, settling, leaving);
    if (leaving.relayed) outgoing.#relay = outgoing.#orNone(Relay.start(outgoing.#relayDirectory, clock));
    return outgoing;
  }

  /** Returns null if the migration had not started, so that the guest is unchanged, or if the guest is no longer reserved for it. */
  static async resumeFromJournal(
    host: Host,
    story: OpenStory,
    isHeld: () => boolean,
  ): Promise<Outgoing | null> {
    const found = interrupted(story, "source");
    if (found === null) return null;
    const { xml, ...leaving } = kept.parse(found.opened.host);
    const input = wokenSource(found);
    const domain = parseDomain(xml);
    const from = await findSource(found.opened.host, host);
    const { settle } = input.woken?.memory.prepared ?? {};
    const settleAt = settle && withOwnCertificates(host.config, settle);
    const settling = new SettlePeer(host.clock, reachOf(host.config), settleAt);
    const opened = openSource(host.surroundings, input, from.guest, settling, found.opened.host);
    const { migrationId } = input.identity;
    const recorded = await host.domains.presenceOf(domain.uuid);
    const { secret = null, peerJournal = null, begun = false } = recorded ?? {};
    settling.prove(secret, peerJournal, input.woken?.memory.prepared?.peer?.migrationId);
    // The reservation may have ended while the QEMU was being located.
    if (!isHeld()) {
      from.qemu?.release();
      return null;
    }
    const entry = host.domains.entryFor(domain);
    entry.authority.send({ type: "migration.recovered", migrationId, direction: "out" });
    const intent = { departing: migrationId, secret, peerJournal, begun };
    const removed = leaving.undefineSource ? migrationId : null;
    if (from.qemu !== null)
      await host.domains.enter(domain, asRunningGuest(from.spec, from.qemu), { ...intent, leaving: removed });
    return new Outgoing(host, entry, domain, input.identity, opened, from.guest, settling, {
      ...leaving,
      secret,
      client: null,
    });
  }

  private constructor(
    host: Host,
    entry: ManagedDomain,
    domain: Domain,
    identity: Identity,
    opened: Opened<SourceActor>,
    guest: SourceGuest,
    settling: SettlePeer,
    leaving: Pick<Leaving, "undefineSource" | "stream" | "client"> & { readonly secret: string | null },
  ) {
    this.identity = identity;
    this.domain = domain;
    this.#host = host;
    this.#actor = opened.actor;
    this.#guest = guest;
    this.#settling = settling;
    this.#undefineSource = leaving.undefineSource;
    this.#secret = leaving.secret;
    this.#client = leaving.client;
    this.postcopyAllowed = leaving.stream.postcopy !== undefined;
    settling.through = (uri) => this.#throughRelay(uri);
    this.peer = localSource(opened);
    const job = this.#job();
    host.domains.setJob(entry, job);
    this.followed = followSource(host, entry, opened.actor, job);
    this.ended = waitFor(opened.actor, (snapshot) => snapshot.status !== "active").then(
      async ({ output }) => {
        const report = output ?? { outcome: "stuck", failures: [], undone: [] };
        try {
          await this.#conclude(entry, report);
          await this.#relay;
          await endRelay(this.#relayDirectory);
          await this.followed.ended(report);
        } catch (error) {
          host.warn(`after the migration of ${domain.name}: ${messageOf(error)}`);
        }
        return report;
      },
    );
    opened.actor.start();
  }

  async perform(prepared: Prepared, signal: AbortSignal): Promise<Answer<null>> {
    const [relay] = await Promise.all([this.#relay, this.#learn(prepared)]);
    const uri = (await this.#orNone(relay?.to(prepared.uri))) ?? prepared.uri;
    const host = hostOf(prepared.uri);
    const answer = await this.peer.perform({ ...prepared, uri, ...(host !== undefined && { host }) }, signal);
    if (answer.kind === "done" || relay === null) return answer;
    const why = await relay.why();
    return why === "" ? answer : { ...answer, cause: withMore(answer.cause, `the relay: ${why}`) };
  }

  setLimits = (limits: Partial<Limits>): Promise<Tuned> => askForLimits(this.#actor, limits);

  startPostcopy = (): Promise<Tuned> => askForPostcopy(this.#actor);

  /** Sets how the source settles with a destination that cannot be asked by migration id. */
  proveBy(prove: NonNullable<SettlePeer["proveBy"]>): void {
    this.#settling.proveBy = prove;
  }

  /** Called when the coordinator is gone: before the handover the guest stays; after it, the source settles. */
  abandon(): void {
    if (this.#actor.getSnapshot().status === "active")
      this.#actor.send({ type: "coordinator.confirmCancelledRequested" });
  }

  /** Starts a new relay, because the first one's connection is lost. In post-copy every requested page passes through it. */
  async #throughRelay(uri: StreamAddress): Promise<StreamAddress> {
    if (!this.#host.config.migration.relay) return uri;
    await endRelay(this.#relayDirectory);
    this.#relay = this.#orNone(Relay.start(this.#relayDirectory, this.#host.clock));
    const relay = await this.#relay;
    return (await this.#orNone(relay?.to(uri))) ?? uri;
  }

  get #relayDirectory(): string {
    return relayDirectory(this.#host.config.runDirectory, this.identity.migrationId);
  }

  /** A failed relay is not an error: without one only the downtime is longer. */
  async #orNone<T>(wanted: Promise<T> | undefined): Promise<T | null> {
    try {
      return (await wanted) ?? null;
    } catch (error) {
      this.#host.warn(`the migration of ${this.domain.name} runs without a relay: ${messageOf(error)}`);
      return null;
    }
  }

  /** Records, before QEMU sends anything, how the destination is asked and the proof of who asks. */
  async #learn({ settle, peer }: Prepared): Promise<void> {
    const { domains, config } = this.#host;
    const { migrationId } = this.identity;
    this.#settling.uri = settle && withOwnCertificates(config, settle);
    this.#destination = { hostname: peer?.hostname ?? "", uri: settle ?? null };
    const peerJournal = peer?.journal ?? null;
    this.#settling.prove(this.#secret, peerJournal, peer?.migrationId);
    const { live } = domains.entryFor(this.domain);
    if (live === null) return;
    const leaving = this.#undefineSource ? migrationId : null;
    const { handle } = live.guest.process;
    const secret = this.#secret;
    const more = { departing: migrationId, leaving, secret, peerJournal, begun: true };
    await domains.keepHandleOf(this.domain, handle, more);
  }

  /** True if the source has given the migration up, also before a restart of this daemon: its guest runs here again. */
  get isBack(): boolean {
    const snapshot = this.#actor.getSnapshot();
    return !snapshot.hasTag("performed") && !snapshot.hasTag("pointOfNoReturn");
  }

  /** True if a client leads the migration rather than this host. */
  get isLed(): boolean {
    return this.#client !== null;
  }

  /** Resolves when the client that leads the migration disconnects. */
  get leaderGone(): Promise<unknown> {
    return this.#client?.closed ?? Promise.resolve();
  }

  /** @throws LibvirtError when a step belongs to another migration, or names none and comes from another connection. */
  checkLedBy(step: "Perform" | "Confirm", said: Said | null, client: RpcClient | null): void {
    const { migrationId } = this.identity;
    if (said !== null && said.migrationId !== migrationId)
      throw libvirtError(
        "OPERATION_INVALID",
        `${step} belongs to migration ${said.migrationId}, but ${migrationId} is under way`,
      );
    if (said === null && client !== this.#client)
      throw libvirtError(
        "OPERATION_INVALID",
        `${step} names no migration and comes from a connection that did not begin this one`,
      );
  }

  /** The secret in Begin's cookie for the destination; null when this migration has none. */
  get secret(): string | null {
    return this.#secret;
  }

  /**
   * Handles Confirm, which is only a hint. It counts with the destination's receipt, or from the connection that led the
   * migration to a host that cannot be asked by id. Otherwise the source asks the destination itself before it ends its copy
   * (G3). @throws LibvirtError when the message belongs to another migration.
   */
  async confirm(
    { cancelled, said, client }: { cancelled: boolean; said: Said | null; client: RpcClient | null },
    signal: AbortSignal,
  ): Promise<Answer<SourceReport>> {
    const { migrationId } = this.identity;
    this.checkLedBy("Confirm", said, client);
    const receipt = this.#secret === null ? null : receiptOf(this.#secret, migrationId);
    const isProven = receipt !== null && said?.receipt !== undefined && isSame(receipt, said.receipt);
    // A destination that has sent its URI can be asked.
    const isAskable = this.#settling.uri !== undefined;
    const isHandedOver = this.#actor.getSnapshot().hasTag("pointOfNoReturn");
    const counts = cancelled || confirmCounts({ isProven, isAskable });
    if (!counts && !isHandedOver)
      throw libvirtError("OPERATION_INVALID", `domain '${this.domain.name}' has not been handed over`);
    const confirm = (limited: AbortSignal) =>
      this.peer.confirm({ cancelled: counts ? cancelled : true }, limited);
    if (client === null || !isHandedOver) return confirm(signal);
    return within(this.#host.clock, confirmLimitMs, signal, confirm);
  }

  async #conclude(entry: ManagedDomain, { outcome, failures }: SourceReport): Promise<void> {
    const { domains } = this.#host;
    const { migrationId } = this.identity;
    switch (outcome) {
      case "left":
        if (this.#undefineSource || entry.definition === null)
          await domains.migrationEnded(entry, migrationId, nothingLeft, {
            why: "migrated",
            undefine: this.#undefineSource,
          });
        else await this.#leaveDefined(entry);
        break;
      case "lost": {
        // After a post-copy that the destination has lost, the source's QEMU still exists and an operator has to end it.
        const { live } = entry;
        const isLeft = live !== null && isAlive(live.guest.process.handle);
        if (isLeft) tellStanding(this.#host, entry, "postcopyFailed");
        const why = endInMigration(live);
        await domains.migrationEnded(entry, migrationId, isLeft ? { left: "broken" } : nothingLeft, { why });
        break;
      }
      case "stayed": {
        const { running, status } = (await entry.live?.guest.process.main.execute("query-status", {})) ?? {
          running: false,
          status: "unknown",
        };
        const before = entry.state.name;
        entry.state = running
          ? { name: "running", reason: reasons.running.migrationCanceled }
          : { name: "paused", reason: reasons.paused[status === "io-error" ? "ioError" : "user"] };
        if (running && before === "paused") domains.tell(entry, "resumed", "migrated");
        const found = entry.live === null ? nothingLeft : ({ left: running ? "running" : "paused" } as const);
        await domains.migrationEnded(entry, migrationId, found, { why: "failed" });
        break;
      }
      case "stuck": {
        // Operator intervention is required, so the job stays.
        const why = `migration ${migrationId} cannot be ended: ${failures.map(describeFailure).join("; ")}`;
        const found = { left: "unknown", why, elsewhere: true } as const;
        await domains.migrationEnded(entry, migrationId, found, { why: "failed" });
        return;
      }
    }
    domains.setJob(entry, null);
  }

  /** Records that the guest runs elsewhere: this host starts it only after that host has conceded it (G1). */
  async #leaveDefined(entry: ManagedDomain): Promise<void> {
    const { domains, clock } = this.#host;
    if (entry.autostart) await domains.setAutostart(entry, false);
    const { prepared } = this.#actor.getSnapshot().context;
    const { hostname = "", uri = null } = this.#destination ?? {
      hostname: prepared?.peer?.hostname,
      uri: prepared?.settle ?? null,
    };
    const { migrationId } = this.identity;
    const away = { migrationId, hostname, uri, sinceMs: clock.now() };
    const keepsRecord = await domains.setAway(entry.uuid, away).then(
      () => false,
      (error: unknown) => {
        this.#host.warn(`the record that ${entry.name} is away cannot be written yet: ${messageOf(error)}`);
        return true;
      },
    );
    await domains.migrationEnded(entry, migrationId, { left: "away" }, { why: "migrated", keepsRecord });
  }

  #job(): Job {
    return {
      what: "migration out",
      startedMs: this.#host.clock.now(),
      progress: () => this.#actor.getSnapshot().context.progress,
      abort: async () => {
        const { clock } = this.#host;
        const answer = await withLimit(clock, requestLimitMs, (signal) => this.peer.abort(signal));
        if (answer.kind !== "done") return { accepted: false, why: answer.cause.message };
        const { accepted } = answer.value;
        const why = "cannot abort migration in post-copy mode";
        return !accepted && isInPostcopy(this.#host.domains.byUuid(this.domain.uuid))
          ? { accepted, why }
          : answer.value;
      },
      suspend: async () => {
        const { clock } = this.#host;
        // Begin reads whether the guest runs: a suspension before that would last beyond the migration.
        await waitFor(this.#actor, (snapshot) => !snapshot.matches({ preparing: "beginning" }));
        if (this.#actor.getSnapshot().status === "active") this.#actor.send({ type: "operator.suspended" });
        const answer = await withLimit(clock, requestLimitMs, (signal) => this.#guest.suspend(signal));
        if (answer.kind !== "done") throw libvirtError("OPERATION_FAILED", answer.cause.message);
      },
      destroy: async () => {
        const { domains, clock } = this.#host;
        const entry = domains.byUuid(this.domain.uuid);
        const { live } = entry;
        if (live === null) throw libvirtError("OPERATION_INVALID", "domain is not running");
        live.endsAs = "destroyed";
        // The destination host cannot report whether it has the guest, so it cannot be informed either.
        if (isUndecided(entry)) return this.#decide(entry, "released");
        const answer = await endProcess(live.guest.process);
        if (answer.kind !== "done") throw libvirtError("OPERATION_FAILED", answer.cause.message);
        // Past the point of no return the source first informs the destination, which may be unreachable.
        await resolvesWithin(clock, destroyedLimitMs, this.ended);
        domains.noteStopped(entry, "destroyed");
      },
      decide: (how) => this.#decide(this.#host.domains.byUuid(this.domain.uuid), how),
    };
  }

  /** Resolves when the migration has ended on this host. @throws LibvirtError when the source's machine does not accept it. */
  async #decide({ name }: ManagedDomain, how: "adopted" | "released"): Promise<void> {
    const event = `operator.${how}` as const;
    let why: string | undefined;
    const subscription = this.#actor.on("refused", (notice) => {
      if (notice.event === event) why = notice.why;
    });
    this.#actor.send({ type: event });
    subscription.unsubscribe();
    if (why !== undefined)
      throw libvirtError("OPERATION_INVALID", `domain '${name}' cannot be ${how}: ${why}`);
    await this.ended;
  }
}

/** Adds text to the first failure, which is the one that is reported as the cause. */
function withMore(cause: Cause, more: string): Cause {
  const [first, ...later] = cause.failures ?? [];
  if (first === undefined) return { ...cause, message: `${cause.message}; ${more}` };
  return { ...cause, failures: [{ ...first, qemu: [...(first.qemu ?? []), more] }, ...later] };
}
