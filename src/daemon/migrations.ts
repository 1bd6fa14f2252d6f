// All migrations of a daemon: the five steps as libvirt's procedures ask them, and the question of a source that settles.
// Every form of a step (Params, fixed) comes here with the same words.

import type { Domain } from "../drivers/domain/domain.js";
import { memoryKiB } from "../drivers/domain/table/system.js";
import type { MigrateParameters } from "../drivers/libvirt/flags.js";
import { streamWishOf } from "../drivers/libvirt/stream-wish.js";
import type { LibvirtError } from "../drivers/libvirt-rpc/libvirt-error.js";
import type { RpcClient } from "../drivers/libvirt-rpc/service.js";
import type { RpcStream } from "../drivers/libvirt-rpc/stream.js";
import { endOtherRelays } from "../drivers/relay/relay.js";
import type { Answer } from "../protocol/answer.js";
import type { Limits } from "../protocol/convergence.js";
import { describeFailure, type Failure } from "../protocol/failures.js";
import type { Decision, GuestDescription, Identity, Reconnection } from "../protocol/messages.js";
import { copyOf, disksThatCome } from "./copied-storage.js";
import { no } from "./errors.js";
import type { Host } from "./host.js";
import { type Arriving, Incoming } from "./incoming.js";
import type { ManagedDomain } from "./managed-domain.js";
import { checkMayLeave } from "./may-leave.js";
import { disksAt, listenAt } from "./migrate-uri.js";
import { Outgoing } from "./outgoing.js";
import { type Cookies, coordinate, coordinateAgain, takesNothingOver } from "./peer-to-peer.js";
import { keepOfPerform, performCookie } from "./perform-cookie.js";
import {
  beginCookie,
  capabilitiesIn,
  prepareCookie,
  preparedOf,
  readBeginCookie,
  readPrepareCookie,
} from "./step-cookies.js";
import { renamed, type StepWords } from "./step-words.js";
import { oneWay, receiveTunnel } from "./tunnel.js";

const empty = new Uint8Array();
const handsNothingOver =
  "post-copy needs a source that hands the guest over to this host itself, which a libvirtd does not";
/** As long as the client waits. */
const forever = new AbortController().signal;
const settleMs = 4_000;

export class Migrations {
  readonly #host: Host;
  readonly #outgoing = new Map<string, Outgoing>();
  readonly #incoming = new Map<string, Incoming>();
  /**
   * By name at the destination: in post-copy a guest may have arrived before Finish is asked, and one that was refused is
   * gone. virsh shows what Perform has said only if Finish does not complain too.
   */
  readonly #unfinished = new Map<string, Incoming>();
  /** Of the guests that are renamed on their way; not known any more after a restart, and needed for figures alone. */
  readonly #namesAtSource = new WeakMap<Incoming, string>();
  /** Uuids of the guests whose job is not taken yet. */
  readonly #preparing = new Set<string>();
  /** Migrations under an id for which settle has been answered here: they cannot come any more. */
  readonly #settled = new Set<string>();

  /** By migration: those that are coordinated here, until both they and their sources have ended. */
  readonly #coordinating = new Map<string, Promise<void>>();

  constructor(host: Host) {
    this.#host = host;
  }

  /** Goes on with what the journal holds; the uuids of the guests that are in it. */
  async recover(): Promise<ReadonlySet<string>> {
    const { config, journal, complain } = this.#host;
    const { stories, unreadable } = await journal.unfinished();
    for (const error of unreadable) complain(error.message);
    const uuids = new Set<string>();
    for (const story of stories) {
      try {
        const incoming = await Incoming.takeUp(this.#host, story);
        const outgoing = incoming === null ? await Outgoing.takeUp(this.#host, story) : null;
        if (incoming !== null) this.#keepIncoming(incoming);
        if (outgoing !== null) {
          this.#keepOutgoing(outgoing);
          this.#keepCoordinating(outgoing, coordinateAgain(this.#host, outgoing, this.#cookies, story));
        }
        const uuid = (incoming ?? outgoing)?.identity.uuid;
        if (uuid === undefined) await journal.forget(story.migrationId);
        else uuids.add(uuid);
      } catch (error) {
        complain(`${story.path} cannot be taken up: ${String(error)}`);
      }
    }
    const underWay = new Set([...this.#outgoing.values()].map(({ identity }) => identity.migrationId));
    await endOtherRelays(config.runDirectory, underWay);
    return uuids;
  }

  /** Begin at the source: takes the job, and tells what the destination must match. */
  async begin(entry: ManagedDomain, words: StepWords, client: RpcClient | null) {
    const { parameters } = words;
    await checkMayLeave(this.#host, entry, words);
    const outgoing = this.#depart(entry, words);
    void client?.closed.then(() => outgoing.abandon());
    const guest = valueIn(await outgoing.peer.begin(forever));
    const xml = parameters.xml ?? outgoing.domain.xml;
    return { xml, cookieOut: await beginCookie(this.#host, outgoing, guest), outgoing, guest };
  }

  /** Prepare at the destination: starts its QEMU, and tells where it listens. */
  async prepare(
    words: StepWords,
    client: RpcClient | null,
    tunnel?: RpcStream,
  ): Promise<{ cookieOut: Uint8Array; uriOut: string }> {
    const { domains, ids, config, journal } = this.#host;
    const { parameters, flags } = words;
    if (parameters.xml === undefined) throw no("INVALID_ARG", "no domain XML passed");
    const given = domains.parse(parameters.xml);
    const cookie = readBeginCookie(this.#host, words.cookie, given);
    const domain = renamed(domains, given.xml, parameters.name);
    const known = cookie?.switchover;
    if (tunnel !== undefined && known === undefined) throw no("ARGUMENT_UNSUPPORTED", oneWay);
    const migrationId = known?.migration ?? ids.next();
    const identity = { migrationId, uuid: domain.uuid, name: domain.name };
    if (this.#settled.has(migrationId) || (await journal.decisionOf(migrationId)) !== null)
      throw no("OPERATION_INVALID", `the migration ${migrationId} has been decided here already`);
    // A coordinator that was restarted asks again; a tunnel has broken with it.
    const under = tunnel === undefined ? this.#incoming.get(migrationId) : undefined;
    await this.#host.tokens.admit(domain.uuid, migrationId);
    if (under === undefined) domains.checkMayCome(domain);
    if (this.#preparing.has(domain.uuid))
      throw no("OPERATION_INVALID", `domain '${domain.name}' is being prepared already`);
    const { disks, images } = disksThatCome(domain.model, words, cookie);
    const stream = streamWishOf(words, config.migration.tls);
    if (stream.postcopy !== undefined && known === undefined)
      throw no("ARGUMENT_UNSUPPORTED", handsNothingOver);
    const guest: GuestDescription = {
      uuid: domain.uuid,
      guestWas: flags.has("PAUSED") ? "paused" : "running",
      qemuVersion: known?.qemu ?? "",
      memoryBytes: known?.memory ?? bytesOf(domain),
      capabilities: capabilitiesIn(cookie, stream),
      disks,
      fencingToken: known?.fencing ?? null,
    };
    const persistent = flags.has("PERSIST_DEST") ? this.#persistent(words, domain) : null;
    const transport = tunnel === undefined ? listenAt(config, parameters) : "unix";
    const arriving: Arriving = {
      ...{ identity, domain, guest, persistent, transport, images, stream },
      disksAt: disksAt(config, parameters),
    };
    const incoming = under ?? (await this.#arrive(arriving));
    this.#namesAtSource.set(incoming, given.name);
    void client?.closed.then(() => incoming.abandon());
    const prepared = valueIn(await incoming.peer.prepare(guest, forever));
    if (tunnel !== undefined) await receiveTunnel(prepared.uri, tunnel);
    const cookieOut = prepareCookie(this.#host, identity, given.name, guest, prepared);
    return { cookieOut, uriOut: prepared.uri };
  }

  /** Perform at the source; of a peer-to-peer migration all of it. */
  async perform(
    entry: ManagedDomain,
    words: StepWords,
    destinationUri: string | null,
  ): Promise<{ cookieOut: Uint8Array }> {
    const { parameters, flags } = words;
    if (flags.has("PEER2PEER")) {
      if (destinationUri === null) throw no("INVALID_ARG", "no destination URI passed");
      await this.peerToPeer(entry, words, destinationUri);
      return { cookieOut: empty };
    }
    if (destinationUri !== null) throw no("INTERNAL_ERROR", "a destination URI without peer-to-peer");
    const outgoing = this.#outgoingOf(entry);
    const prepared = await this.#orGiveUp(outgoing, () => {
      const it = preparedOf(this.#host, entry, words);
      if (outgoing.mayGoOver && it.settle === undefined) throw no("ARGUMENT_UNSUPPORTED", takesNothingOver);
      return it;
    });
    outgoing.tune(limitsOf(parameters));
    valueIn(await outgoing.perform(prepared, forever));
    return { cookieOut: performCookie(this.#host, outgoing, entry, words) };
  }

  /**
   * Perform of version 2, which has no Begin before it and no Confirm after it: the source settles with the destination by
   * itself, under the id that the destination has given the migration. One that cannot be asked, such as a libvirtd, has
   * the guest from here on, as with libvirt.
   */
  async performAlone(entry: ManagedDomain, words: StepWords): Promise<void> {
    await checkMayLeave(this.#host, entry, words);
    const { switchover: known } = readPrepareCookie(this.#host, words.cookie, entry) ?? {};
    const prepared = preparedOf(this.#host, entry, words);
    if (known !== undefined && (await this.#host.journal.has(known.migration)))
      throw no("OPERATION_INVALID", `the migration ${known.migration} has been tried already`);
    const outgoing = this.#depart(entry, words, known?.migration);
    try {
      valueIn(await outgoing.peer.begin(forever));
      valueIn(await outgoing.perform(prepared, forever));
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

  /** Finish at the destination; the domain when it runs here. */
  async finish(name: string, cancelled: boolean, words: StepWords): Promise<ManagedDomain> {
    const underWay = [...this.#incoming.values()].find((it) => it.identity.name === name);
    const incoming = underWay ?? this.#unfinished.get(name);
    if (incoming === undefined)
      throw no("OPERATION_INVALID", `domain '${name}' is not processing incoming migration`);
    valueIn(await incoming.peer.finish({ cancelled }, forever));
    const { outcome, failures } = await incoming.ended;
    this.#unfinished.delete(name);
    if (outcome === "arrived") {
      const entry = this.#host.domains.byUuid(incoming.identity.uuid);
      await keepOfPerform(this.#host, entry, words, this.#namesAtSource.get(incoming) ?? name);
      return entry;
    }
    if (cancelled && outcome === "refused") throw no("MIGRATE_FINISH_OK", "migration successfully aborted");
    if (outcome !== "lost") throw errorOf(failures, `the guest has not arrived (${outcome})`);
    throw no("OPERATION_FAILED", `the guest is lost: ${failures.map(describeFailure).join("; ")}`);
  }

  /** Confirm at the source: resolves when the domain is idle again, or gone. */
  async confirm(entry: ManagedDomain, cancelled: boolean): Promise<void> {
    const outgoing = this.#outgoingOf(entry);
    const { outcome, failures } = valueIn(await outgoing.peer.confirm({ cancelled }, forever));
    await outgoing.ended;
    if (outcome === "stuck" || outcome === "lost") throw errorOf(failures, `the source ended ${outcome}`);
  }

  /** For the migration under way, and for the next one. */
  tune(entry: ManagedDomain, limits: Partial<Limits>): void {
    Object.assign(entry.limits, limits);
    this.#outgoing.get(entry.uuid)?.tune(limits);
  }

  /** libvirt's client does not confirm what Perform has refused. */
  async #orGiveUp<T>(outgoing: Outgoing, look: () => T): Promise<T> {
    try {
      return look();
    } catch (error) {
      outgoing.abandon();
      await outgoing.ended;
      throw error;
    }
  }

  /** @throws LibvirtError when it is not under way, or was begun without leave for it, or QEMU cannot. */
  async goOver(entry: ManagedDomain): Promise<void> {
    const outgoing = this.#outgoing.get(entry.uuid);
    if (outgoing === undefined)
      throw no("OPERATION_INVALID", "post-copy can only be started while outgoing migration is in progress");
    if (!outgoing.mayGoOver)
      throw no(
        "OPERATION_INVALID",
        "switching to post-copy requires migration to be started with VIR_MIGRATE_POSTCOPY flag",
      );
    const { applied, why } = await outgoing.goOver();
    if (!applied) throw no("OPERATION_INVALID", why);
  }

  /** All of a peer-to-peer migration. @throws LibvirtError when the guest has not arrived. */
  async peerToPeer(
    entry: ManagedDomain,
    words: StepWords,
    destinationUri: string,
    migrationId?: string,
  ): Promise<void> {
    const { flags, parameters } = words;
    await checkMayLeave(this.#host, entry, words);
    const outgoing = this.#depart(entry, words, migrationId);
    const coordinating = coordinate(this.#host, outgoing, this.#cookies, {
      destinationUri,
      flags,
      parameters,
    });
    this.#keepCoordinating(outgoing, coordinating);
    const output = await coordinating;
    if (output.kind !== "undecided") await outgoing.ended;
    if (output.kind !== "arrived") throw errorOf(output.failures, `the migration ended ${output.kind}`);
  }

  async #arrive(arriving: Arriving): Promise<Incoming> {
    const { identity, domain } = arriving;
    this.#preparing.add(domain.uuid);
    try {
      // Somebody may have asked meanwhile how it ended.
      const mayBegin = () => !this.#settled.has(identity.migrationId);
      const incoming = await Incoming.begin(this.#host, arriving, mayBegin);
      this.#keepIncoming(incoming);
      return incoming;
    } finally {
      this.#preparing.delete(domain.uuid);
    }
  }

  #depart(entry: ManagedDomain, words: StepWords, migrationId?: string): Outgoing {
    const { parameters, flags } = words;
    const host = this.#host;
    const { migration } = host.config;
    const outgoing = Outgoing.begin(host, entry, {
      migrationId: migrationId ?? host.ids.next(),
      name: parameters.name ?? entry.name,
      undefineSource: flags.has("UNDEFINE_SOURCE"),
      abortOnError: flags.has("ABORT_ON_ERROR"),
      // One connection goes through it.
      relayed: migration.relay && !flags.has("TUNNELLED") && !flags.has("PARALLEL"),
      limits: limitsOf(parameters),
      stream: streamWishOf(words, migration.tls),
      storage: copyOf(host.domains.liveOf(entry).domain.model, words),
    });
    this.#keepOutgoing(outgoing);
    return outgoing;
  }

  readonly #cookies: Cookies = {
    ofPerform: (outgoing, words) =>
      performCookie(this.#host, outgoing, this.#host.domains.byUuid(outgoing.domain.uuid), words),
    ofBegin: (outgoing, guest) => beginCookie(this.#host, outgoing, guest),
    preparedOf: ({ domain }, words) => preparedOf(this.#host, domain, words),
  };

  /** As the destination: whether the guest has been taken here. What was never here is refused, for good. */
  async settle(identity: Identity, how: "settle" | "yield" | "handOver"): Promise<Decision> {
    const { journal, clock } = this.#host;
    const { migrationId, uuid } = identity;
    const known = this.#incoming.has(migrationId) ? null : await journal.decisionOf(migrationId);
    if (known !== null) return known;
    // It may have come meanwhile.
    const incoming = this.#incoming.get(migrationId);
    if (incoming !== undefined)
      return valueIn(await incoming.peer[how](identity, AbortSignal.timeout(settleMs)));
    this.#settled.add(migrationId);
    await journal.append({ kind: "tombstone", migrationId, side: "destination", atMs: clock.now(), uuid });
    return "refused";
  }

  /** As the destination: only the source gives the guest up from now on. @throws LibvirtError when it is not coming. */
  async announce(identity: Identity): Promise<void> {
    const incoming = this.#incoming.get(identity.migrationId);
    if (incoming === undefined) throw no("OPERATION_INVALID", "no such guest is coming in");
    valueIn(await incoming.peer.announce(identity, AbortSignal.timeout(settleMs)));
  }

  /** As the destination in post-copy: listens again for a source whose connection was lost. */
  async reconnect(identity: Identity): Promise<Reconnection> {
    const incoming = this.#incoming.get(identity.migrationId);
    if (incoming === undefined)
      return (await this.#host.journal.hasArrived(identity.migrationId)) ? "arrived" : "lost";
    return valueIn(await incoming.peer.reconnect(identity, AbortSignal.timeout(settleMs)));
  }

  /** Whether the guest that was coming in by this migration is the domain by now. */
  hasArrived = async (migrationId: string): Promise<boolean> =>
    (await this.#host.journal.decisionOf(migrationId)) === "taken";

  /** Whether the guest that was leaving by this migration has left, and runs elsewhere. */
  hasLeft = (migrationId: string): Promise<boolean> => this.#host.journal.hasLeft(migrationId);

  /** Resolves when the coordinator and the source of that migration are at their ends here; at once when none is here. */
  async coordinating(migrationId: string): Promise<void> {
    await this.#coordinating.get(migrationId);
  }

  #keepCoordinating({ identity, ended }: Outgoing, coordinating: Promise<unknown> | null): void {
    const { migrationId } = identity;
    const both = Promise.all([coordinating, ended]).then(() => {
      this.#coordinating.delete(migrationId);
    });
    both.catch(() => {});
    this.#coordinating.set(migrationId, both);
  }

  #keepOutgoing(it: Outgoing): void {
    this.#outgoing.set(it.identity.uuid, it);
    void it.ended.then(({ outcome }) => {
      if (outcome !== "stuck") this.#outgoing.delete(it.identity.uuid);
    });
  }

  #keepIncoming(it: Incoming): void {
    const { migrationId } = it.identity;
    this.#incoming.set(migrationId, it);
    this.#unfinished.delete(it.identity.name);
    void it.ended.then(({ outcome }) => {
      if (outcome === "stuck") return;
      this.#incoming.delete(migrationId);
      if (it.mayGoOver || outcome === "refused") this.#unfinished.set(it.identity.name, it);
    });
  }

  #outgoingOf(entry: ManagedDomain): Outgoing {
    const outgoing = this.#outgoing.get(entry.uuid);
    if (outgoing === undefined) throw no("OPERATION_INVALID", `domain '${entry.name}' is not being migrated`);
    return outgoing;
  }

  /** What is defined at arrival. @throws LibvirtError when it is another domain's. */
  #persistent({ parameters: { persistentXml, name } }: StepWords, { xml, uuid }: Domain): string {
    if (persistentXml === undefined) return xml;
    const persistent = renamed(this.#host.domains, persistentXml, name);
    if (persistent.uuid !== uuid)
      throw no(
        "CONFIG_UNSUPPORTED",
        `the persistent XML is of the domain ${persistent.uuid}, not of ${uuid}`,
      );
    return persistent.xml;
  }
}

const limitsOf = ({ bandwidthMiBps }: MigrateParameters) =>
  bandwidthMiBps === undefined ? {} : { bandwidthMiBps, diskBandwidthMiBps: bandwidthMiBps };

const bytesOf = ({ model }: Domain): number => (model === undefined ? 0 : memoryKiB(model.memory) * 1024);

/** @throws LibvirtError with the failures' own words. */
function valueIn<T>(answer: Answer<T>): T {
  if (answer.kind === "done") return answer.value;
  const { failures = [], message, qemu = [] } = answer.cause;
  if (failures.length > 0) throw errorOf(failures, message);
  const words = qemu.length === 0 ? message : `${message}: ${qemu.join(" | ")}`;
  throw no(answer.kind === "unknown" ? "OPERATION_TIMEOUT" : "OPERATION_FAILED", words);
}

export function errorOf(failures: readonly Failure[], otherwise: string): LibvirtError {
  const [first] = failures;
  if (first === undefined) return no("OPERATION_FAILED", otherwise);
  if (first.code === "aborted") return no("OPERATION_ABORTED", "job 'migration out' canceled by client");
  return no("OPERATION_FAILED", failures.map(describeFailure).join("; "));
}
