// One guest that comes into this host: the destination's machine, its QEMU, and the domain that it becomes.

import { waitFor } from "xstate";
import * as z from "zod/mini";
import type { Domain } from "../drivers/domain/domain.js";
import { parseDomain } from "../drivers/domain/domain.js";
import type { OpenStory } from "../drivers/journal/file-journal.js";
import { interrupted, wokenDestination } from "../drivers/journal/story.js";
import { type DestinationActor, localDestination } from "../drivers/local-peers.js";
import { QemuDestinationGuest, type Transport } from "../drivers/qemu/destination-guest.js";
import { type DestinationHost, findDestination } from "../drivers/qemu/hosts.js";
import type { Image } from "../drivers/qemu/images.js";
import type { ListenAt } from "../drivers/qemu/listen-at.js";
import { type Opened, openDestination } from "../effects/open.js";
import type { DestinationPeer, SettlingPeer } from "../effects/ports.js";
import { asRunningGuest, type RunningGuest } from "../guests.js";
import { messageOf } from "../protocol/answer.js";
import type { DestinationReport, GuestDescription, Identity } from "../protocol/messages.js";
import { no } from "./errors.js";
import type { Host } from "./host.js";
import type { Job } from "./job.js";
import { reasons } from "./managed-domain.js";

/** What a restarted daemon needs beside what the driver needs. */
const kept = z.object({
  xml: z.string(),
  /** The definition to keep at arrival; null for a transient guest. */
  persistent: z.nullable(z.string()),
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
}

export class Incoming {
  readonly identity: Identity;
  readonly domain: Domain;
  readonly peer: DestinationPeer & SettlingPeer;
  /** Resolves when the guest is a domain of this host, or gone; never rejects. */
  readonly ended: Promise<DestinationReport>;
  readonly #host: Host;
  readonly #actor: DestinationActor;

  /** Takes the job; the domain must be idle. */
  static async begin(host: Host, arriving: Arriving, mayBegin: () => boolean): Promise<Incoming> {
    const { identity, domain, guest, persistent, transport, images, disksAt } = arriving;
    const { spec, sideArgs } = await host.domains.build(domain);
    const directory = host.domains.directoryOf(`in-${identity.migrationId}`);
    const qemuHost: DestinationHost = {
      ...{ spec, images, disksAt, postcopy: false, sideArgs, directory, transport },
    };
    await host.domains.keep(domain, {
      ...{ incoming: identity.migrationId, handle: null, directory, persistent },
    });
    if (!mayBegin()) {
      await host.domains.forgetLive(domain.uuid);
      throw no("OPERATION_INVALID", `the migration ${identity.migrationId} has been decided here already`);
    }
    const driver = new QemuDestinationGuest({ ...qemuHost, clock: host.clock });
    const input = { identity, guest, deadlines: host.deadlines };
    const word: DestinationHost & Kept = { ...qemuHost, xml: domain.xml, persistent };
    const opened = openDestination(host.surroundings, input, driver, word);
    const process = async () => (await driver.process?.catch(() => undefined)) ?? null;
    return new Incoming(host, identity, domain, persistent, opened, process, spec);
  }

  /** Null when it had not been begun. */
  static async takeUp(host: Host, story: OpenStory): Promise<Incoming | null> {
    const found = interrupted(story, "destination");
    if (found === null) return null;
    const { xml, persistent } = kept.parse(found.opened.host);
    const to = await findDestination(found.opened.host, host.clock);
    const input = wokenDestination(found);
    const opened = openDestination(host.surroundings, input, to.guest, found.opened.host);
    const domain = parseDomain(xml);
    return new Incoming(host, input.identity, domain, persistent, opened, async () => to.qemu, to.spec);
  }

  private constructor(
    host: Host,
    identity: Identity,
    domain: Domain,
    persistent: string | null,
    opened: Opened<DestinationActor>,
    process: () => Promise<Parameters<typeof asRunningGuest>[1] | null>,
    spec: Parameters<typeof asRunningGuest>[0],
  ) {
    this.identity = identity;
    this.domain = domain;
    this.#host = host;
    this.#actor = opened.actor;
    const entry = host.domains.entryFor(domain);
    host.domains.setJob(entry, this.#job());
    opened.actor.start();
    this.peer = localDestination(opened);
    this.ended = waitFor(opened.actor, (it) => it.status !== "active").then(async ({ output }) => {
      const report = output ?? { outcome: "stuck", failures: [], undone: [] };
      try {
        await this.#conclude(report, persistent, async () => {
          const qemu = await process();
          return qemu && asRunningGuest(spec, qemu);
        });
      } catch (error) {
        host.complain(`after ${domain.name} has come in: ${messageOf(error)}`);
      }
      return report;
    });
  }

  /** Its client has gone before the stream has begun: nobody will send one. */
  abandon(): void {
    if (this.#actor.getSnapshot().matches("listening"))
      this.#actor.send({ type: "coordinator.finishCancelledAsked" });
  }

  async #conclude(
    { outcome }: DestinationReport,
    persistent: string | null,
    guestHere: () => Promise<RunningGuest | null>,
  ): Promise<void> {
    const { domains } = this.#host;
    const entry = domains.entryFor(this.domain);
    // Somebody has to look at it: its job stays.
    if (outcome === "stuck") return;
    const guest = outcome === "arrived" ? await guestHere() : null;
    if (guest === null) await domains.forgetLive(this.domain.uuid);
    else {
      if (persistent !== null) await this.#define(persistent);
      await domains.enter(this.domain, guest);
      domains.tell(entry, "started", "migrated");
      const runs = entry.state.name === "running";
      entry.state = runs
        ? { name: "running", reason: reasons.running.migrated }
        : { name: "paused", reason: reasons.paused.user };
      if (runs) domains.tell(entry, "resumed", "migrated");
      else domains.tell(entry, "suspended", "paused");
    }
    domains.setJob(entry, null);
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
