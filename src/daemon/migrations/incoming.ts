// One incoming migration: the destination's machine, its QEMU, and the domain that the guest becomes.

import { type SnapshotFrom, waitFor } from "xstate";
import * as z from "zod/mini";
import type { Domain } from "../../drivers/domain-xml/domain.js";
import { parseDomain } from "../../drivers/domain-xml/domain.js";
import { filesOf } from "../../drivers/domain-xml/qemu-args/build.js";
import { fetchesMemory, interrupted, wokenDestination } from "../../drivers/journal/story.js";
import type { OpenStory } from "../../drivers/journal/types.js";
import type { RpcClient } from "../../drivers/libvirt/rpc/service.js";
import { isAlive } from "../../drivers/platform/procfs.js";
import { QemuDestinationGuest, type Transport } from "../../drivers/qemu/guest/destination-guest.js";
import {
  type DestinationHost,
  findDestination,
  streamOptionsSchema,
} from "../../drivers/qemu/guest/recovery-records.js";
import type { ListenAt } from "../../drivers/qemu/migration/listen-address.js";
import { endProcess } from "../../drivers/qemu/process/end-process.js";
import type { Image } from "../../drivers/qemu/storage/images.js";
import { type Opened, openDestination } from "../../effects/actors.js";
import { type DestinationActor, localDestination } from "../../effects/in-process-peers.js";
import type { DestinationPeer, SettlingPeer } from "../../effects/ports.js";
import { asRunningGuest, type RunningGuest } from "../../library/local/running-guest.js";
import { replyToSettle } from "../../machines/replies.js";
import { metaIn } from "../../machines/shared/states.js";
import { stateName } from "../../machines/shared/walk.js";
import { messageOf } from "../../protocol/effect-result.js";
import { describeFailure } from "../../protocol/failure.js";
import type { Decision, DestinationReport, GuestDescription, Identity } from "../../protocol/messages.js";
import type { SocketPath } from "../../protocol/peer-text.js";
import type { StreamOptions } from "../../protocol/stream.js";
import type { Job } from "../domains/job.js";
import { endInMigration, type ManagedDomain, reasons } from "../domains/managed-domain.js";
import type { Host } from "../host.js";
import { libvirtError } from "../rpc/errors.js";
import { isSame, receiptOf } from "./evidence.js";

/** The data that a restarted daemon needs in addition to the driver's. */
const kept = z.object({
  xml: z.string(),
  /** The definition to store at arrival; null for a transient guest. */
  persistent: z.nullable(z.string()),
  stream: streamOptionsSchema,
  /** Null in journals of older versions: the same name as on this host. */
  nameAtSource: z._default(z.nullable(z.string()), null),
});
type Persisted = z.infer<typeof kept>;

export interface Arriving {
  readonly identity: Identity;
  /** The secret shared with the source; null when the source offered none. */
  readonly secret: string | null;
  /** The guest's name at its source. */
  readonly nameAtSource: string;
  /** The connection that requested Prepare. */
  readonly client: RpcClient | null;
  readonly domain: Domain;
  readonly guest: GuestDescription;
  readonly persistent: string | null;
  readonly transport: Transport;
  /** Images of the copied disks. */
  readonly images: readonly Image[];
  readonly disksAt: SocketPath | ListenAt;
  readonly stream: StreamOptions;
}

type Standing = "postcopy" | "postcopyFailed";

/** Returns the state of a guest in post-copy; null when the guest does not run here yet. */
function standingOf(snapshot: SnapshotFrom<DestinationActor>): Standing | null {
  const { libvirt } = metaIn("destination", stateName(snapshot));
  return libvirt === "postcopy" || libvirt === "postcopyFailed" ? libvirt : null;
}

/** True if the guest cannot have run here and was not promised to the source: a restarted machine still refuses it. */
function isUndecidedIn(recorded: string): boolean {
  const { rehydratesAs } = metaIn("destination", recorded);
  return rehydratesAs === "probing" || rehydratesAs === "refusing";
}

const runState = ({ state }: ManagedDomain) => (state.name === "running" ? "running" : "paused");

export class Incoming {
  readonly identity: Identity;
  readonly domain: Domain;
  /** The guest's name in the cookies of its source. */
  readonly nameAtSource: string;
  readonly peer: DestinationPeer & SettlingPeer;
  /** Resolves when the guest is a domain of this host or gone. Never rejects. */
  readonly ended: Promise<DestinationReport>;
  /** True if the migration may switch to post-copy. */
  readonly postcopyAllowed: boolean;
  readonly #host: Host;
  readonly #actor: DestinationActor;
  /** The definition to store at arrival. */
  readonly #persistent: string | null;
  readonly #secret: string | null;
  #client: RpcClient | null;
  readonly #isDurable: () => Promise<void>;
  readonly #guestHere: () => Promise<RunningGuest | null>;
  #standing: Standing | null = null;
  #following: Promise<void> = Promise.resolve();

  /** Takes the job; the domain must be idle. */
  static async begin(host: Host, arriving: Arriving, mayBegin: () => boolean): Promise<Incoming> {
    const { identity, secret, client } = arriving;
    const { domain, guest, persistent, transport, images, disksAt, stream } = arriving;
    const { spec, sideArgs } = await host.domains.build(domain);
    const directory = host.domains.directoryOf(`in-${identity.migrationId}`);
    const qemuHost: DestinationHost = {
      spec,
      images,
      disksAt,
      sideArgs,
      directory,
      transport,
      stream,
    };
    await host.domains.keep(domain, {
      incoming: identity.migrationId,
      handle: null,
      directory,
      persistent,
      secret,
    });
    if (!mayBegin())
      throw libvirtError(
        "OPERATION_INVALID",
        `migration ${identity.migrationId} has already been decided on this host`,
      );
    const driver = new QemuDestinationGuest({
      ...qemuHost,
      clock: host.clock,
      hosting: host.hosting,
      writes: filesOf(domain),
    });
    const input = { identity, guest, deadlines: host.deadlines };
    const record: DestinationHost & Persisted = {
      ...qemuHost,
      stream,
      xml: domain.xml,
      persistent,
      nameAtSource: arriving.nameAtSource,
    };
    const opened = openDestination(host.surroundings, input, driver, record);
    const process = async () => (await driver.process?.catch(() => undefined)) ?? null;
    const qemu = { process, finalize: () => driver.finalize() };
    const more = { persistent, stream, secret, client, nameAtSource: arriving.nameAtSource };
    return new Incoming(host, identity, domain, more, opened, qemu, spec);
  }

  /** Returns null if the migration had not started, or if the guest is no longer reserved for it. */
  static async resumeFromJournal(
    host: Host,
    story: OpenStory,
    isHeld: () => boolean,
  ): Promise<Incoming | null> {
    const found = interrupted(story, "destination");
    if (found === null) return null;
    const { xml, ...arriving } = kept.parse(found.opened.host);
    const to = await findDestination(found.opened.host, host, {
      isUndecided: isUndecidedIn(found.woken.state),
      fetchesMemory: fetchesMemory(found),
    });
    const input = wokenDestination(found);
    const opened = openDestination(host.surroundings, input, to.guest, found.opened.host);
    const domain = parseDomain(xml);
    const finalize = async () => {
      if (to.qemu !== null) await to.guest.finalize();
    };
    const qemu = { process: async () => to.qemu, finalize };
    const { migrationId } = input.identity;
    const { secret = null } = (await host.domains.presenceOf(domain.uuid)) ?? {};
    // The reservation may have ended while the QEMU was being located.
    if (!isHeld()) {
      to.qemu?.release();
      return null;
    }
    const entry = host.domains.entryFor(domain);
    entry.authority.send({ type: "migration.recovered", migrationId, direction: "in" });
    const more = { ...arriving, secret, client: null };
    const incoming = new Incoming(host, input.identity, domain, more, opened, qemu, to.spec);
    host.domains.showArriving(entry, domain, () => incoming.destroy());
    return incoming;
  }

  private constructor(
    host: Host,
    identity: Identity,
    domain: Domain,
    {
      persistent,
      stream,
      secret,
      client,
      nameAtSource,
    }: Pick<Arriving, "persistent" | "stream" | "secret" | "client"> & {
      readonly nameAtSource: string | null;
    },
    opened: Opened<DestinationActor>,
    qemu: {
      process: () => Promise<Parameters<typeof asRunningGuest>[1] | null>;
      finalize: () => Promise<void>;
    },
    spec: Parameters<typeof asRunningGuest>[0],
  ) {
    this.identity = identity;
    this.domain = domain;
    this.#host = host;
    this.#actor = opened.actor;
    this.#isDurable = opened.durable;
    this.#persistent = persistent;
    this.nameAtSource = nameAtSource ?? identity.name;
    this.#secret = secret;
    this.#client = client;
    this.postcopyAllowed = stream.postcopy !== undefined;
    this.#guestHere = async () => {
      const process = await qemu.process();
      return process && asRunningGuest(spec, process);
    };
    const entry = host.domains.entryFor(domain);
    host.domains.setJob(entry, this.#job());
    opened.actor.subscribe({ next: (snapshot) => this.#follow(standingOf(snapshot)), error: () => {} });
    opened.actor.start();
    this.peer = localDestination(opened);
    this.ended = waitFor(opened.actor, (snapshot) => snapshot.status !== "active").then(
      async ({ output }) => {
        const report = output ?? { outcome: "stuck", failures: [], undone: [] };
        await this.#following;
        await this.#orComplain(this.#conclude(report));
        // Resets QEMU's migration state, so that the guest can be migrated again.
        if (report.outcome === "arrived") await this.#orComplain(qemu.finalize());
        return report;
      },
    );
  }

  /**
   * Records that the migration has begun: durably before the reply to Prepare, and after the story. A restarted host that
   * finds this record but no story has therefore lost the story.
   */
  async recordBegun(): Promise<void> {
    const { domains } = this.#host;
    const { migrationId } = this.identity;
    await this.#isDurable();
    // The migration has ended meanwhile, and its record is being removed.
    if (this.#actor.getSnapshot().status !== "active") return;
    await domains.keep(this.domain, {
      incoming: migrationId,
      handle: null,
      directory: domains.directoryOf(`in-${migrationId}`),
      persistent: this.#persistent,
      secret: this.#secret,
      begun: true,
    });
  }

  /** Cancels the migration if its client disconnected before the stream began, because no stream will follow. */
  abandon(): void {
    const snapshot = this.#actor.getSnapshot();
    const isListening = snapshot.matches({ incoming: { streaming: "listening" } });
    if (isListening || snapshot.matches({ incoming: "preparing" }))
      this.#actor.send({ type: "coordinator.finishCancelledRequested" });
  }

  /** Sets the connection that leads the migration, after its coordinator was restarted or reconnected. */
  ledBy(client: RpcClient | null): void {
    this.#client = client;
  }

  isLedBy = (client: RpcClient | null): boolean => this.#client === client;

  /** Returns true if the request comes from the source of this migration. Hosts without a shared secret cannot be verified. */
  isAskedBy = (secret: string | undefined): boolean =>
    this.#secret === null || (secret !== undefined && isSame(secret, this.#secret));

  /** The decision so far; null while there is none or it is not certain. */
  get decision(): Decision | null {
    const reply = replyToSettle(this.#actor.getSnapshot());
    return reply?.kind === "done" ? reply.value : null;
  }

  /** The proof for the source that the guest was taken; undefined without a secret. */
  get receipt(): string | undefined {
    return this.#secret === null ? undefined : receiptOf(this.#secret, this.identity.migrationId);
  }

  /** Refuses the guest for good, or ends it if it has been taken, on behalf of an operator. */
  async destroy(): Promise<void> {
    this.#actor.send({ type: "operator.destroyed" });
    const { live } = this.#host.domains.entryFor(this.domain);
    if (live !== null) {
      live.endsAs = "destroyed";
      const answer = await endProcess(live.guest.process);
      if (answer.kind !== "done") throw libvirtError("OPERATION_FAILED", answer.cause.message);
    }
    const { outcome } = await this.ended;
    if (outcome === "arrived")
      throw libvirtError(
        "OPERATION_FAILED",
        "the guest was already being taken and now runs here; destroy it again to end it",
      );
  }

  /** Processes state changes in order; the guest is registered as a domain first. */
  #follow(standing: Standing | null): void {
    if (standing === null || standing === this.#standing) return;
    this.#standing = standing;
    this.#following = this.#following.then(() => this.#orComplain(this.#stand(standing)));
  }

  /** In post-copy the guest runs here before it has arrived. */
  async #stand(standing: Standing): Promise<void> {
    const entry = await this.#enter();
    if (entry !== null) await this.#tellRuns(entry, standing);
  }

  async #conclude({ outcome, failures }: DestinationReport): Promise<void> {
    const { domains } = this.#host;
    const entry = domains.entryFor(this.domain);
    const { migrationId } = this.identity;
    // Operator intervention is required, so the job stays.
    if (outcome === "stuck") {
      const why = `migration ${migrationId} cannot be ended: ${failures.map(describeFailure).join("; ")}`;
      const found = { left: "unknown", why, elsewhere: true } as const;
      return domains.migrationEnded(entry, migrationId, found, { why: "failed" });
    }
    if (outcome === "arrived" && (await this.#enter()) !== null) {
      await this.#tellRuns(entry, "migrated");
      if (entry.away !== null) await domains.setAway(entry.uuid, null);
    }
    const { live } = entry;
    // A guest that was lost in post-copy runs until it needs memory that did not arrive.
    const isBroken = outcome !== "arrived" && live !== null && isAlive(live.guest.process.handle);
    if (isBroken) await this.#tellRuns(entry, "postcopyFailed");
    const why = endInMigration(live);
    const left =
      live === null ? "nothing" : isBroken ? "broken" : outcome === "arrived" ? runState(entry) : "nothing";
    await domains.migrationEnded(entry, migrationId, { left }, { why });
    domains.setJob(entry, null);
  }

  /** Registers the guest as a domain of this host; null when its QEMU is gone. */
  async #enter(): Promise<ManagedDomain | null> {
    const { domains } = this.#host;
    const entry = domains.entryFor(this.domain);
    if (entry.live !== null) return entry;
    const guest = await this.#guestHere();
    if (guest === null) return null;
    if (this.#persistent !== null) await this.#define(this.#persistent);
    await domains.enter(this.domain, guest);
    domains.tell(entry, "started", "migrated");
    return entry;
  }

  async #tellRuns(entry: ManagedDomain, standing: Standing | "migrated"): Promise<void> {
    const { domains } = this.#host;
    const { main } = entry.live?.guest.process ?? {};
    // QEMU may not answer while its guest waits for memory that never arrives; the last known state is kept then.
    const { running } = (await main?.execute("query-status", {}).catch(() => undefined)) ?? {
      running: entry.state.name === "running",
    };
    const isNew = standing === "migrated" || entry.state.reason !== reasons.running[standing];
    if (running) {
      entry.state = { name: "running", reason: reasons.running[standing] };
      if (isNew) domains.tell(entry, "resumed", standing);
    } else {
      const reason = standing === "migrated" ? "user" : standing;
      entry.state = { name: "paused", reason: reasons.paused[reason] };
      if (standing === "migrated") domains.tell(entry, "suspended", "paused");
      else domains.tell(entry, "suspended", standing);
    }
  }

  async #orComplain(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      this.#host.warn(`after the arrival of ${this.domain.name}: ${messageOf(error)}`);
    }
  }

  /** Stores the guest's definition; a failure does not affect the arrival. */
  async #define(xml: string): Promise<void> {
    const { domains, warn } = this.#host;
    try {
      await domains.define(domains.parse(xml));
    } catch (error) {
      warn(`${this.domain.name} arrived, but its definition cannot be stored: ${messageOf(error)}`);
    }
  }

  #job(): Job {
    return {
      what: "migration in",
      startedMs: this.#host.clock.now(),
      progress: () => null,
      abort: async () => ({
        accepted: false,
        why: "cannot abort incoming migration; use virDomainDestroy instead",
      }),
      destroy: () => this.destroy(),
    };
  }
}
