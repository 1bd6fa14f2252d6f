// One guest that comes into this host: the destination's machine, its QEMU, and the domain that it becomes.

import { type SnapshotFrom, waitFor } from "xstate";
import * as z from "zod/mini";
import { filesOf } from "../drivers/domain/build.js";
import type { Domain } from "../drivers/domain/domain.js";
import { parseDomain } from "../drivers/domain/domain.js";
import type { OpenStory } from "../drivers/journal/file-journal.js";
import { interrupted, wokenDestination } from "../drivers/journal/story.js";
import { type DestinationActor, localDestination } from "../drivers/local-peers.js";
import { QemuDestinationGuest, type Transport } from "../drivers/qemu/destination-guest.js";
import { type DestinationHost, findDestination, streamWish } from "../drivers/qemu/hosts.js";
import type { Image } from "../drivers/qemu/images.js";
import type { ListenAt } from "../drivers/qemu/listen-at.js";
import { isAlive } from "../drivers/qemu/proc.js";
import { type Opened, openDestination } from "../effects/open.js";
import type { DestinationPeer, SettlingPeer } from "../effects/ports.js";
import { asRunningGuest, type RunningGuest } from "../guests.js";
import { messageOf } from "../protocol/answer.js";
import type { DestinationReport, GuestDescription, Identity } from "../protocol/messages.js";
import type { StreamWish } from "../protocol/stream.js";
import { no } from "./errors.js";
import type { Host } from "./host.js";
import type { Job } from "./job.js";
import { endInMigration, type ManagedDomain, reasons } from "./managed-domain.js";

/** What a restarted daemon needs beside what the driver needs. */
const kept = z.object({
  xml: z.string(),
  /** The definition to keep at arrival; null for a transient guest. */
  persistent: z.nullable(z.string()),
  stream: streamWish,
});
type Kept = z.infer<typeof kept>;

export interface Arriving {
  readonly identity: Identity;
  readonly domain: Domain;
  readonly guest: GuestDescription;
  readonly persistent: string | null;
  readonly transport: Transport;
  /** Of the disks that are copied. */
  readonly images: readonly Image[];
  readonly disksAt: string | ListenAt;
  readonly stream: StreamWish;
}

type Standing = "postcopy" | "postcopyFailed";

/** In post-copy: whether its memory comes; null when the guest does not run here yet. */
function standingOf(snapshot: SnapshotFrom<DestinationActor>): Standing | null {
  if (snapshot.matches("orphaned")) return "postcopyFailed";
  if (!snapshot.matches("fetching")) return null;
  return snapshot.matches({ fetching: { line: "connected" } }) ? "postcopy" : "postcopyFailed";
}

export class Incoming {
  readonly identity: Identity;
  readonly domain: Domain;
  readonly peer: DestinationPeer & SettlingPeer;
  /** Resolves when the guest is a domain of this host, or gone; never rejects. */
  readonly ended: Promise<DestinationReport>;
  /** To post-copy. */
  readonly mayGoOver: boolean;
  readonly #host: Host;
  readonly #actor: DestinationActor;
  /** The definition to keep. */
  readonly #persistent: string | null;
  readonly #guestHere: () => Promise<RunningGuest | null>;
  #standing: Standing | null = null;
  #following: Promise<void> = Promise.resolve();

  /** Takes the job; the domain must be idle. */
  static async begin(host: Host, arriving: Arriving, mayBegin: () => boolean): Promise<Incoming> {
    const { identity, domain, guest, persistent, transport, images, disksAt, stream } = arriving;
    const { spec, sideArgs } = await host.domains.build(domain);
    const directory = host.domains.directoryOf(`in-${identity.migrationId}`);
    const qemuHost: DestinationHost = {
      ...{ spec, images, disksAt, sideArgs, directory, transport, stream },
    };
    await host.domains.keep(domain, {
      ...{ incoming: identity.migrationId, handle: null, directory, persistent },
    });
    if (!mayBegin()) {
      await host.domains.forgetLive(domain.uuid);
      throw no("OPERATION_INVALID", `the migration ${identity.migrationId} has been decided here already`);
    }
    const driver = new QemuDestinationGuest({
      ...qemuHost,
      clock: host.clock,
      hosting: host.hosting,
      writes: filesOf(domain),
    });
    const input = { identity, guest, deadlines: host.deadlines };
    const word: DestinationHost & Kept = { ...qemuHost, stream, xml: domain.xml, persistent };
    const opened = openDestination(host.surroundings, input, driver, word);
    const process = async () => (await driver.process?.catch(() => undefined)) ?? null;
    const qemu = { process, settleIn: () => driver.settleIn() };
    return new Incoming(host, identity, domain, { persistent, stream }, opened, qemu, spec);
  }

  /** Null when it had not been begun. */
  static async takeUp(host: Host, story: OpenStory): Promise<Incoming | null> {
    const found = interrupted(story, "destination");
    if (found === null) return null;
    const { xml, ...arriving } = kept.parse(found.opened.host);
    const to = await findDestination(found.opened.host, host);
    const input = wokenDestination(found);
    const opened = openDestination(host.surroundings, input, to.guest, found.opened.host);
    const domain = parseDomain(xml);
    const settleIn = async () => {
      if (to.qemu !== null) await to.guest.settleIn();
    };
    const qemu = { process: async () => to.qemu, settleIn };
    return new Incoming(host, input.identity, domain, arriving, opened, qemu, to.spec);
  }

  private constructor(
    host: Host,
    identity: Identity,
    domain: Domain,
    { persistent, stream }: Pick<Arriving, "persistent" | "stream">,
    opened: Opened<DestinationActor>,
    qemu: {
      process: () => Promise<Parameters<typeof asRunningGuest>[1] | null>;
      settleIn: () => Promise<void>;
    },
    spec: Parameters<typeof asRunningGuest>[0],
  ) {
    this.identity = identity;
    this.domain = domain;
    this.#host = host;
    this.#actor = opened.actor;
    this.#persistent = persistent;
    this.mayGoOver = stream.postcopy !== undefined;
    this.#guestHere = async () => {
      const process = await qemu.process();
      return process && asRunningGuest(spec, process);
    };
    const entry = host.domains.entryFor(domain);
    host.domains.setJob(entry, this.#job());
    opened.actor.subscribe({ next: (snapshot) => this.#follow(standingOf(snapshot)), error: () => {} });
    opened.actor.start();
    this.peer = localDestination(opened);
    this.ended = waitFor(opened.actor, (it) => it.status !== "active").then(async ({ output }) => {
      const report = output ?? { outcome: "stuck", failures: [], undone: [] };
      await this.#following;
      await this.#orComplain(this.#conclude(report));
      // So that it can leave again as one that has never moved.
      if (report.outcome === "arrived") await this.#orComplain(qemu.settleIn());
      return report;
    });
  }

  /** Its client has gone before the stream has begun: nobody will send one. */
  abandon(): void {
    if (this.#actor.getSnapshot().matches("listening"))
      this.#actor.send({ type: "coordinator.finishCancelledAsked" });
  }

  /** Each in its turn: the guest is entered as a domain first. */
  #follow(standing: Standing | null): void {
    if (standing === null || standing === this.#standing) return;
    this.#standing = standing;
    this.#following = this.#following.then(() => this.#orComplain(this.#stand(standing)));
  }

  /** In post-copy it runs here before it has arrived. */
  async #stand(standing: Standing): Promise<void> {
    const entry = await this.#enter();
    if (entry !== null) await this.#tellRuns(entry, standing);
  }

  async #conclude({ outcome }: DestinationReport): Promise<void> {
    const { domains } = this.#host;
    const entry = domains.entryFor(this.domain);
    // Somebody has to look at it: its job stays.
    if (outcome === "stuck") return;
    if (outcome === "arrived") {
      if ((await this.#enter()) === null) await domains.forgetLive(this.domain.uuid);
      else await this.#tellRuns(entry, "migrated");
    } else if (entry.live === null) await domains.forgetLive(this.domain.uuid);
    // What is left of one that was lost in post-copy runs until it needs what did not come: a person has to end it.
    else if (isAlive(entry.live.guest.process.handle)) {
      await domains.keepHandleOf(this.domain, entry.live.guest.process.handle, { broken: true });
      await this.#tellRuns(entry, "postcopyFailed");
    } else await domains.leave(entry, endInMigration(entry.live));
    domains.setJob(entry, null);
  }

  /** It is a domain of this host from now on; null when its QEMU is gone. */
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
    // A guest that waits for memory that never comes can make its QEMU mute: it is what it was.
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
      this.#host.complain(`after ${this.domain.name} has come in: ${messageOf(error)}`);
    }
  }

  /** The guest has arrived, whatever becomes of its definition. */
  async #define(xml: string): Promise<void> {
    const { domains, complain } = this.#host;
    try {
      await domains.define(domains.parse(xml));
    } catch (error) {
      complain(`${this.domain.name} has arrived and cannot be defined: ${messageOf(error)}`);
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
    };
  }
}
