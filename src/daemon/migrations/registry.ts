// All migrations of a daemon: the five steps of libvirt's protocol, and the requests of sources that settle. Every form of a
// step (Params, fixed) arrives here as the same `StepRequest`.

import type { Domain } from "../../drivers/domain-xml/domain.js";
import { memoryKiB } from "../../drivers/domain-xml/schema/system.js";
import type { OpenStory } from "../../drivers/journal/types.js";
import type { MigrateParameters } from "../../drivers/libvirt/client/flags.js";
import { streamWishOf } from "../../drivers/libvirt/client/stream-options.js";
import { CookieError } from "../../drivers/libvirt/cookie/errors.js";
import { LibvirtError } from "../../drivers/libvirt/rpc/libvirt-error.js";
import type { RpcClient } from "../../drivers/libvirt/rpc/service.js";
import type { RpcStream } from "../../drivers/libvirt/rpc/stream.js";
import { QemuMuteError } from "../../drivers/qemu/process/process.js";
import { endOtherRelays } from "../../drivers/relay/relay.js";
import { sleep } from "../../effects/sleep.js";
import type { CoordinatorOutput } from "../../machines/coordinator/machine.js";
import type { Limits } from "../../protocol/convergence/limits.js";
import { messageOf } from "../../protocol/effect-result.js";
import { describeFailure } from "../../protocol/failure.js";
import type { GuestDescription, Identity, SourceReport } from "../../protocol/messages.js";
import { checkEmulator } from "../domains/emulators.js";
import type { ManagedDomain } from "../domains/managed-domain.js";
import type { RecoveredStories, Unreadable } from "../domains/recovery.js";
import type { Host } from "../host.js";
import { atOneAddress } from "../listen-address.js";
import { destinationOfClient } from "../reach.js";
import { libvirtError } from "../rpc/errors.js";
import { errorOf, unwrap } from "./answers.js";
import {
  beginCookie,
  capabilitiesIn,
  finishCookie,
  prepareCookie,
  preparedAt,
  preparedOf,
  readBeginCookie,
  readPrepareCookie,
  type Said,
  saidIn,
} from "./cookies.js";
import { copyOf, incomingDisks } from "./copied-storage.js";
import { checkEncrypted } from "./encryption.js";
import { newSecret } from "./evidence.js";
import { type Arriving, Incoming } from "./incoming.js";
import { disksAt, listenAt } from "./migration-uri.js";
import { OperatorDecisions } from "./operator-decisions.js";
import { Outgoing } from "./outgoing.js";
import { type Cookies, coordinate, coordinateAgain, postcopyNeedsSwitchoverd } from "./peer-to-peer.js";
import { applyPerformCookie, performCookie } from "./perform-cookie.js";
import { renamed, type StepRequest } from "./request.js";
import { Settling } from "./settling.js";
import { checkMayLeave } from "./source-checks.js";
import { endDisowned, identityIn, newestFirst, ownsItsGuest } from "./story-owner.js";
import { oneWay, receiveTunnel } from "./tunnel.js";

const empty = new Uint8Array();
const handsNothingOver =
  "post-copy requires a source that hands the guest over directly, which libvirtd does not support";
/** No deadline: the step takes as long as the client waits. */
const forever = new AbortController().signal;

/** Interval at which a QEMU that does not answer is retried. */
const takeUpAgainMs = 2_000;

export class Migrations {
  readonly #host: Host;
  readonly #outgoing = new Map<string, Outgoing>();
  readonly #incoming = new Map<string, Incoming>();
  /** Unreadable stories, by migration id; requests about these migrations cannot be answered. */
  readonly #unreadable = new Map<string, Unreadable>();
  /** Stories whose QEMU does not answer, by the guest's uuid. */
  readonly #waiting = new Map<string, OpenStory>();
  /**
   * Ended migrations whose Finish is still to come, by migration id: in post-copy a guest may arrive before Finish, and a
   * refused one is gone. virsh shows Perform's error only if Finish does not fail as well.
   */
  readonly #unfinished = new Map<string, Incoming>();
  /** Migrations that ended before their client's next step, by uuid, for as long as that client is connected. */
  readonly #lately = new Map<string, SourceReport>();
  /** Ids of migrations that were settled here as refused, so that they cannot arrive any more. */
  readonly #settled = new Set<string>();

  /** Migrations coordinated by this host, by id, until both the coordinator and the source have ended. */
  readonly #coordinating = new Map<string, Promise<void>>();

  /** Answers the requests of sources to this host as the destination. */
  readonly settling: Settling;
  readonly #decisions: OperatorDecisions;

  constructor(host: Host) {
    this.#host = host;
    const [incoming, unreadable, settled] = [this.#incoming, this.#unreadable, this.#settled];
    this.settling = new Settling(host, { incoming, unreadable, settled });
    this.#decisions = new OperatorDecisions(host, unreadable);
    host.domains.onGivenUp = (uuid) => this.#giveUp(uuid);
  }

  /** Records an operator's decision that this host's copy is the guest. @throws LibvirtError */
  async adopt(entry: ManagedDomain): Promise<void> {
    await this.#decisions.adopt(entry);
    if (!entry.authority.getSnapshot().matches("departing")) this.#outgoing.delete(entry.uuid);
  }

  /** Records an operator's decision that the guest is not on this host. @throws LibvirtError */
  release = (entry: ManagedDomain): Promise<void> => this.#decisions.release(entry);

  /** Resumes the unfinished migrations of the journal. */
  async recover(): Promise<RecoveredStories> {
    const { config, journal, warn } = this.#host;
    const { stories, unreadable } = await journal.unfinished();
    for (const { migrationId, reason, path, guest, isCertain } of unreadable) {
      warn(`${path} cannot be read: ${reason}`);
      const { uuid, name } = guest;
      this.#unreadable.set(migrationId, {
        why: reason,
        ...(isCertain && uuid !== null && { uuid, name: name ?? undefined }),
      });
    }
    const uuids = new Set<string>();
    const doubted = new Set(
      unreadable.flatMap(({ guest, isCertain }) => (isCertain ? (guest.uuid ?? []) : [])),
    );
    for (const story of newestFirst(stories)) {
      try {
        const { uuid: known = "" } = identityIn(story) ?? {};
        const isDoubted = doubted.has(known);
        doubted.add(known);
        if (!(await ownsItsGuest(this.#host, story, isDoubted))) {
          await endDisowned(this.#host, story);
          continue;
        }
        const uuid = await this.#takeUp(story);
        if (uuid === null) await journal.forget(story.migrationId);
        else uuids.add(uuid);
      } catch (error) {
        const identity = identityIn(story);
        if (error instanceof QemuMuteError && identity !== undefined) {
          this.#quarantine(story, identity, error);
          uuids.add(identity.uuid);
          void this.#takeUpLater(story, identity);
          continue;
        }
        warn(`${story.path} cannot be resumed: ${messageOf(error)}`);
        this.#unreadable.set(story.migrationId, { why: messageOf(error), ...identityIn(story) });
      }
    }
    const underWay = new Set([...this.#outgoing.values()].map(({ identity }) => identity.migrationId));
    await endOtherRelays(config.runDirectory, underWay);
    return { uuids, unreadable: this.#unreadable };
  }

  /** Resumes a story and returns its guest's uuid; null when it had not begun, or when its guest is no longer reserved for it. */
  async #takeUp(story: OpenStory, isHeld = () => true): Promise<string | null> {
    const incoming = await Incoming.resumeFromJournal(this.#host, story, isHeld);
    const outgoing = incoming === null ? await Outgoing.resumeFromJournal(this.#host, story, isHeld) : null;
    if (incoming !== null) this.#keepIncoming(incoming);
    if (outgoing !== null) {
      this.#keepOutgoing(outgoing);
      this.#keepCoordinating(outgoing, coordinateAgain(this.#host, outgoing, this.#cookies, story));
    }
    return (incoming ?? outgoing)?.identity.uuid ?? null;
  }

  /** Quarantines the guest of a story whose QEMU does not answer: requests about the migration cannot be answered until it does. */
  #quarantine({ migrationId }: OpenStory, identity: Identity, error: QemuMuteError): void {
    const { domains, warn } = this.#host;
    const why = `${error.message} in migration ${migrationId}`;
    this.#unreadable.set(migrationId, { why });
    const entry = domains.entryFor(identity);
    entry.authority.send({ type: "host.examined", found: { left: "unknown", why, elsewhere: true } });
    warn(`${entry.name} is quarantined: ${why}`);
  }

  async #takeUpLater(story: OpenStory, { uuid }: Identity): Promise<void> {
    const { clock, warn, domains } = this.#host;
    // An operator can end the quarantine, which ends the story; it is not resumed then.
    const isHeld = () =>
      !domains.isStopped && this.#waiting.get(uuid) === story && domains.quarantineOf(uuid) !== null;
    this.#waiting.set(uuid, story);
    for (;;) {
      await sleep(clock, takeUpAgainMs);
      if (domains.isStopped || this.#waiting.get(uuid) !== story) return;
      // The QEMU is being ended, which can fail.
      if (!isHeld()) continue;
      try {
        const taken = await this.#takeUp(story, isHeld);
        // The guest was given up while its QEMU was being located.
        if (taken === null && !isHeld()) continue;
        this.#waiting.delete(uuid);
        this.#unreadable.delete(story.migrationId);
        return;
      } catch (error) {
        if (error instanceof QemuMuteError) continue;
        warn(`${story.path} cannot be resumed: ${messageOf(error)}`);
        return;
      }
    }
  }

  /** Ends the story of a guest that an operator has given up, before the guest's record is removed. */
  async #giveUp(uuid: string): Promise<void> {
    const story = this.#waiting.get(uuid);
    if (story !== undefined) {
      await endDisowned(this.#host, story);
      this.#waiting.delete(uuid);
      this.#unreadable.delete(story.migrationId);
    }
    // Requests about it are answered "not known" from now on, as they were during the quarantine.
    await this.#decisions.endDoubt(uuid, await this.#host.domains.presenceOf(uuid).catch(() => undefined));
  }

  /** Begin at the source: takes the job, and describes the guest that the destination must match. */
  async begin(entry: ManagedDomain, request: StepRequest, client: RpcClient | null) {
    const { parameters } = request;
    await checkMayLeave(this.#host, entry, request);
    const outgoing = await this.#depart(entry, request, client);
    void client?.closed.then(() => outgoing.abandon());
    const guest = unwrap(await outgoing.peer.begin(forever));
    const xml = parameters.xml ?? outgoing.domain.xml;
    return { xml, cookieOut: await beginCookie(this.#host, outgoing, guest), outgoing, guest };
  }

  /** Prepare at the destination: starts its QEMU, and returns where it listens. */
  async prepare(
    request: StepRequest,
    client: RpcClient | null,
    tunnel?: RpcStream,
  ): Promise<{ cookieOut: Uint8Array; uriOut: string }> {
    const { domains, ids, config, journal } = this.#host;
    const { parameters, flags } = request;
    if (parameters.xml === undefined) throw libvirtError("INVALID_ARG", "no domain XML passed");
    const given = domains.parse(parameters.xml);
    const cookie = readBeginCookie(this.#host, request.cookie, given);
    const domain = renamed(domains, given.xml, parameters.name);
    checkEmulator(config, domain);
    const known = cookie?.switchover;
    if (tunnel !== undefined && known === undefined) throw libvirtError("ARGUMENT_UNSUPPORTED", oneWay);
    const migrationId = known?.migration ?? ids.next();
    const identity = { migrationId, uuid: domain.uuid, name: domain.name };
    if (this.#settled.has(migrationId) || (await journal.decisionOf(migrationId)) !== null)
      throw libvirtError(
        "OPERATION_INVALID",
        `migration ${migrationId} has already been decided on this host`,
      );
    // A restarted coordinator repeats Prepare and joins the migration; a tunnelled one has lost its stream.
    const under = tunnel === undefined ? this.#incoming.get(migrationId) : undefined;
    this.#host.tokens.check(domain.uuid, migrationId);
    checkEncrypted(config, request);
    const { disks, images } = incomingDisks(domain.model, request, cookie);
    const stream = streamWishOf(request, config.migration.tls);
    if (stream.postcopy !== undefined && known === undefined)
      throw libvirtError("ARGUMENT_UNSUPPORTED", handsNothingOver);
    const guest: GuestDescription = {
      uuid: domain.uuid,
      guestWas: flags.has("PAUSED") ? "paused" : "running",
      qemuVersion: known?.qemu ?? "",
      memoryBytes: known?.memory ?? bytesOf(domain),
      capabilities: capabilitiesIn(cookie, stream),
      disks,
      fencingToken: known?.fencing ?? null,
    };
    const persistent = flags.has("PERSIST_DEST") ? this.#persistent(request, domain) : null;
    const transport = tunnel === undefined ? await atOneAddress(listenAt(config, parameters)) : "unix";
    const disksPlace = disksAt(config, parameters);
    const arriving: Arriving = {
      identity,
      domain,
      guest,
      persistent,
      transport,
      images,
      stream,
      client,
      nameAtSource: given.name,
      secret: known?.secret ?? null,
      disksAt:
        images.length === 0 || typeof disksPlace === "string" ? disksPlace : await atOneAddress(disksPlace),
    };
    const incoming = under ?? (await this.#arrive(arriving));
    incoming.ledBy(client);
    void client?.closed.then(() =>
      this.#abandonUnlessLed(incoming, client, known !== undefined && flags.has("PEER2PEER")),
    );
    const [answer] = await Promise.all([
      incoming.peer.prepare(guest, forever),
      this.#orRefuse(incoming, incoming.recordBegun()),
    ]);
    const prepared = unwrap(answer);
    if (tunnel !== undefined) await receiveTunnel(prepared.uri, tunnel);
    const cookieOut = prepareCookie(this.#host, identity, given.name, guest, prepared);
    return { cookieOut, uriOut: prepared.uri };
  }

  /** Perform at the source. For a peer-to-peer migration this is the whole migration. */
  async perform(
    entry: ManagedDomain,
    request: StepRequest,
    destinationUri: string | null,
    client: RpcClient,
  ): Promise<{ cookieOut: Uint8Array }> {
    const { parameters, flags } = request;
    if (flags.has("PEER2PEER")) {
      if (destinationUri === null) throw libvirtError("INVALID_ARG", "no destination URI passed");
      await this.peerToPeer(entry, request, destinationUri);
      return { cookieOut: empty };
    }
    if (destinationUri !== null)
      throw libvirtError("INTERNAL_ERROR", "a destination URI requires the PEER2PEER flag");
    const outgoing = this.#outgoingOf(entry);
    outgoing.checkLedBy("Perform", this.#saidBy(entry, request.cookie), client);
    const prepared = await this.#orGiveUp(outgoing, () => {
      const answer = preparedOf(this.#host, entry, request);
      if (outgoing.postcopyAllowed && answer.settle === undefined)
        throw libvirtError("ARGUMENT_UNSUPPORTED", postcopyNeedsSwitchoverd);
      return answer;
    });
    // Nothing is being sent yet, so the limits apply from the start.
    void outgoing.setLimits(limitsOf(parameters));
    unwrap(await outgoing.perform(prepared, forever));
    return { cookieOut: performCookie(this.#host, outgoing, entry, request) };
  }

  /**
   * Perform of version 2, which has no Begin and no Confirm: the source settles with the destination by itself, under the id
   * that the destination chose. A destination that cannot be asked, such as a libvirtd, has the guest from here on, as with
   * libvirt.
   */
  async performAlone(entry: ManagedDomain, request: StepRequest): Promise<void> {
    await checkMayLeave(this.#host, entry, request);
    const { switchover: known } = readPrepareCookie(this.#host, request.cookie, entry) ?? {};
    const prepared = preparedOf(this.#host, entry, request);
    if (known !== undefined && (await this.#host.journal.has(known.migration)))
      throw libvirtError("OPERATION_INVALID", `migration ${known.migration} has already been attempted`);
    const outgoing = await this.#depart(entry, request, null, known?.migration);
    try {
      unwrap(await outgoing.peer.begin(forever));
      unwrap(await outgoing.perform(prepared, forever));
    } catch (error) {
      await outgoing.peer.confirm({ cancelled: true }, forever);
      await outgoing.ended;
      throw error;
    }
    if (prepared.settle !== undefined) outgoing.abandon();
    else {
      await outgoing.peer.confirm({ cancelled: false }, forever);
      await outgoing.ended;
    }
  }

  /** Finish at the destination: returns the domain that runs here, and the cookie that proves it to the source. */
  async finish(
    name: string,
    cancelled: boolean,
    request: StepRequest,
    client: RpcClient,
  ): Promise<{ entry: ManagedDomain; cookieOut: Uint8Array }> {
    const incoming = this.#incomingOf(name, request.cookie, client);
    unwrap(await incoming.peer.finish({ cancelled }, forever));
    const { outcome, failures } = await incoming.ended;
    const { identity, nameAtSource, receipt } = incoming;
    this.#unfinished.delete(identity.migrationId);
    if (outcome === "arrived") {
      const entry = this.#host.domains.byUuid(identity.uuid);
      await applyPerformCookie(this.#host, entry, request, nameAtSource);
      return { entry, cookieOut: finishCookie(this.#host, identity, nameAtSource, receipt) };
    }
    if (cancelled && outcome === "refused")
      throw libvirtError("MIGRATE_FINISH_OK", "migration successfully aborted");
    if (outcome !== "lost") throw errorOf(failures, `the guest did not arrive (${outcome})`);
    throw libvirtError("OPERATION_FAILED", `the guest is lost: ${failures.map(describeFailure).join("; ")}`);
  }

  /**
   * Finds the incoming migration of a Finish: by the id in the source's cookie, over any connection; without such a cookie by
   * name, over the connection that requested Prepare. @throws LibvirtError
   */
  #incomingOf(name: string, cookie: Uint8Array, client: RpcClient): Incoming {
    const named = [...this.#incoming.values(), ...this.#unfinished.values()].filter(
      ({ identity }) => identity.name === name,
    );
    for (const incoming of named) {
      const said = this.#saidBy({ name: incoming.nameAtSource, uuid: incoming.identity.uuid }, cookie);
      if (said === null ? incoming.isLedBy(client) : said.migrationId === incoming.identity.migrationId)
        return incoming;
    }
    const why = named.length === 0 ? "" : " of this connection";
    throw libvirtError("OPERATION_INVALID", `domain '${name}' is not processing incoming migration${why}`);
  }

  /** Reads the migration from a cookie; null when it names none or belongs to another guest. @throws LibvirtError */
  #saidBy(domain: Pick<Domain, "name" | "uuid">, cookie: Uint8Array): Said | null {
    try {
      return saidIn(this.#host, cookie, domain);
    } catch (error) {
      if (error instanceof LibvirtError && isOfAnotherGuest(error.cause)) return null;
      throw error;
    }
  }

  /** Confirm at the source: resolves when the domain is idle again or gone. */
  async confirm(
    entry: ManagedDomain,
    cancelled: boolean,
    request: StepRequest,
    client: RpcClient,
  ): Promise<void> {
    // The migration ended before, so this Confirm has no effect.
    if (cancelled && !this.#outgoing.has(entry.uuid) && this.#lately.delete(entry.uuid)) return;
    const outgoing = this.#outgoingOf(entry);
    const said = this.#saidBy(outgoing.domain, request.cookie);
    const answer = await outgoing.confirm({ cancelled, said, client }, forever);
    const { outcome, failures } = unwrap(answer);
    await outgoing.ended;
    if (outcome === "stuck" || outcome === "lost") throw errorOf(failures, `the source ended: ${outcome}`);
  }

  /** Sets the limits of the migration under way, in effect when it resolves, and of the next. @throws LibvirtError if refused. */
  async setLimits(entry: ManagedDomain, limits: Partial<Limits>): Promise<void> {
    const tuned = await this.#outgoing.get(entry.uuid)?.setLimits(limits);
    if (tuned?.applied === false)
      throw libvirtError("OPERATION_FAILED", `the limits were not changed: ${tuned.why}`);
    Object.assign(entry.limits, limits);
  }

  /** Refuses an incoming guest at once when its record cannot be written. */
  async #orRefuse(incoming: Incoming, recording: Promise<void>): Promise<void> {
    try {
      await recording;
    } catch (error) {
      incoming.abandon();
      await incoming.ended;
      throw error;
    }
  }

  /** Abandons the migration when the check fails, because libvirt's client sends no Confirm after a Perform that was refused. */
  async #orGiveUp<T>(outgoing: Outgoing, look: () => T): Promise<T> {
    try {
      return look();
    } catch (error) {
      outgoing.abandon();
      await outgoing.ended;
      throw error;
    }
  }

  /** @throws LibvirtError when no migration is under way, it was begun without POSTCOPY, or QEMU refuses. */
  async startPostcopy(entry: ManagedDomain): Promise<void> {
    const outgoing = this.#outgoing.get(entry.uuid);
    if (outgoing === undefined)
      throw libvirtError(
        "OPERATION_INVALID",
        "post-copy can only be started while outgoing migration is in progress",
      );
    if (!outgoing.postcopyAllowed)
      throw libvirtError(
        "OPERATION_INVALID",
        "switching to post-copy requires migration to be started with VIR_MIGRATE_POSTCOPY flag",
      );
    const { applied, why } = await outgoing.startPostcopy();
    if (!applied) throw libvirtError("OPERATION_INVALID", why);
  }

  /** Runs a whole peer-to-peer migration. @throws LibvirtError when the guest did not arrive. */
  async peerToPeer(entry: ManagedDomain, request: StepRequest, destinationUri: string): Promise<void> {
    const output = await this.lead(entry, request, destinationUri);
    if (output.kind !== "arrived") throw errorOf(output.failures, `the migration ended: ${output.kind}`);
  }

  /** Like `peerToPeer`, but returns any outcome. @throws LibvirtError when the migration could not begin. */
  async lead(
    entry: ManagedDomain,
    request: StepRequest,
    destinationUri: string,
    migrationId?: string,
  ): Promise<CoordinatorOutput> {
    const { flags, parameters } = request;
    const uri = destinationOfClient(this.#host.config, destinationUri);
    await checkMayLeave(this.#host, entry, request);
    const outgoing = await this.#depart(entry, request, null, migrationId);
    const coordinating = coordinate(this.#host, outgoing, this.#cookies, {
      destinationUri: uri,
      flags,
      parameters,
    });
    this.#keepCoordinating(outgoing, coordinating);
    const output = await coordinating;
    if (output.kind !== "undecided") await outgoing.ended;
    return output;
  }

  async #arrive(arriving: Arriving): Promise<Incoming> {
    const { domains, tokens } = this.#host;
    const { identity, domain } = arriving;
    const { migrationId, uuid } = identity;
    /** False when a source has settled the migration meanwhile, or an operator has destroyed it. */
    const mayBegin = () => !this.#settled.has(migrationId);
    const entry = await domains.arrive(domain, migrationId, async () => {
      const begun = this.#incoming.get(migrationId);
      if (begun === undefined) this.#settled.add(migrationId);
      else await begun.destroy();
    });
    try {
      await tokens.admit(uuid, migrationId);
      const incoming = await Incoming.begin(this.#host, arriving, mayBegin);
      this.#keepIncoming(incoming);
      return incoming;
    } catch (error) {
      await domains.migrationEnded(entry, migrationId, { left: "nothing" }, { why: "failed" });
      throw error;
    }
  }

  /** Abandons the migration when its client is gone. A coordinator on the source host gets time to reconnect after a restart. */
  async #abandonUnlessLed(incoming: Incoming, client: RpcClient, returns: boolean): Promise<void> {
    const { clock, deadlines } = this.#host;
    if (returns) await sleep(clock, deadlines.reconnectMs);
    if (incoming.isLedBy(client)) incoming.abandon();
  }

  async #depart(
    entry: ManagedDomain,
    request: StepRequest,
    client: RpcClient | null,
    migrationId?: string,
  ): Promise<Outgoing> {
    const { parameters, flags } = request;
    const host = this.#host;
    const { migration } = host.config;
    const outgoing = await Outgoing.begin(host, entry, {
      migrationId: migrationId ?? host.ids.next(),
      secret: newSecret(host.ids),
      client,
      name: parameters.name ?? entry.name,
      undefineSource: flags.has("UNDEFINE_SOURCE"),
      abortOnError: flags.has("ABORT_ON_ERROR"),
      // The relay carries a single connection.
      relayed: migration.relay && !flags.has("TUNNELLED") && !flags.has("PARALLEL"),
      limits: limitsOf(parameters),
      stream: streamWishOf(request, migration.tls),
      storage: copyOf(host.domains.liveOf(entry).domain.model, request),
    });
    this.#keepOutgoing(outgoing);
    return outgoing;
  }

  readonly #cookies: Cookies = {
    ofPerform: (outgoing, request) =>
      performCookie(this.#host, outgoing, this.#host.domains.byUuid(outgoing.domain.uuid), request),
    ofBegin: (outgoing, guest) => beginCookie(this.#host, outgoing, guest),
    saidIn: ({ domain }, cookie) => {
      try {
        return this.#saidBy(domain, cookie);
      } catch (error) {
        // Without the receipt the source asks the destination.
        this.#host.warn(`after Finish of ${domain.name}: ${messageOf(error)}`);
        return null;
      }
    },
    preparedAt: ({ domain }, request, uri) => preparedAt(this.#host, domain, request, uri),
  };

  /** Resolves when the coordinator and the source of that migration have ended on this host; at once when there are none. */
  async coordinating(migrationId: string): Promise<void> {
    await this.#coordinating.get(migrationId);
  }

  /** Returns true if a side of that migration on this host has not ended, or its story or QEMU cannot be read. */
  isUnderWay(migrationId: string): boolean {
    if (this.#incoming.has(migrationId) || this.#coordinating.has(migrationId)) return true;
    if (this.#unreadable.has(migrationId)) return true;
    return [...this.#outgoing.values()].some(({ identity }) => identity.migrationId === migrationId);
  }

  #keepCoordinating({ identity, ended }: Outgoing, coordinating: Promise<unknown> | null): void {
    const { migrationId } = identity;
    // A coordinator that failed has ended too; the source ends by itself.
    const both = Promise.allSettled([coordinating, ended]).then(() => {
      this.#coordinating.delete(migrationId);
    });
    this.#coordinating.set(migrationId, both);
  }

  #keepOutgoing(outgoing: Outgoing): void {
    const { uuid } = outgoing.identity;
    this.#outgoing.set(uuid, outgoing);
    this.#lately.delete(uuid);
    void outgoing.ended.then((report) => {
      if (report.outcome === "stuck") return;
      this.#outgoing.delete(uuid);
      if (report.outcome !== "stayed" || !outgoing.isLed) return;
      this.#lately.set(uuid, report);
      void outgoing.leaderGone.then(() => {
        if (this.#lately.get(uuid) === report) this.#lately.delete(uuid);
      });
    });
  }

  #keepIncoming(incoming: Incoming): void {
    const { migrationId, name } = incoming.identity;
    this.#incoming.set(migrationId, incoming);
    for (const [id, { identity }] of this.#unfinished)
      if (identity.name === name) this.#unfinished.delete(id);
    void incoming.ended.then(({ outcome }) => {
      if (outcome === "stuck") return;
      this.#incoming.delete(migrationId);
      if (incoming.postcopyAllowed || outcome === "refused") this.#unfinished.set(migrationId, incoming);
    });
  }

  #outgoingOf(entry: ManagedDomain): Outgoing {
    const outgoing = this.#outgoing.get(entry.uuid);
    const lately = outgoing === undefined ? this.#lately.get(entry.uuid) : undefined;
    if (lately !== undefined) throw errorOf(lately.failures, `the migration ended: ${lately.outcome}`);
    if (outgoing === undefined)
      throw libvirtError("OPERATION_INVALID", `domain '${entry.name}' is not being migrated`);
    return outgoing;
  }

  /** Returns the definition to store at arrival. @throws LibvirtError when it belongs to another domain. */
  #persistent({ parameters: { persistentXml, name } }: StepRequest, { xml, uuid }: Domain): string {
    if (persistentXml === undefined) return xml;
    const persistent = renamed(this.#host.domains, persistentXml, name);
    checkEmulator(this.#host.config, persistent);
    if (persistent.uuid !== uuid)
      throw libvirtError(
        "CONFIG_UNSUPPORTED",
        `the persistent XML has uuid ${persistent.uuid}, not that of the domain, ${uuid}`,
      );
    return persistent.xml;
  }
}

const isOfAnotherGuest = (error: unknown): boolean =>
  error instanceof CookieError && (error.code === "wrong-name" || error.code === "wrong-uuid");

const limitsOf = ({ bandwidthMiBps }: MigrateParameters) =>
  bandwidthMiBps === undefined ? {} : { bandwidthMiBps, diskBandwidthMiBps: bandwidthMiBps };

const bytesOf = ({ model }: Domain): number => (model === undefined ? 0 : memoryKiB(model.memory) * 1024);
