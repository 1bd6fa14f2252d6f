// One guest that leaves this host: the source's machine over the domain's QEMU, and what becomes of the domain.

import { waitFor } from "xstate";
import * as z from "zod/mini";
import { type Domain, parseDomain } from "../drivers/domain/domain.js";
import type { OpenStory } from "../drivers/journal/file-journal.js";
import { interrupted, wokenSource } from "../drivers/journal/story.js";
import { SettlePeer } from "../drivers/libvirt/settle-peer.js";
import { localSource, type SourceActor } from "../drivers/local-peers.js";
import { hostOf } from "../drivers/qemu/block-devices.js";
import { findSource, type SourceHost, streamWish } from "../drivers/qemu/hosts.js";
import { isAlive } from "../drivers/qemu/proc.js";
import { QemuSourceGuest, type StorageCopy } from "../drivers/qemu/source-guest.js";
import { endRelay, Relay, relayDirectory } from "../drivers/relay/relay.js";
import { type Opened, openSource } from "../effects/open.js";
import type { SourceGuest, SourcePeer } from "../effects/ports.js";
import { asRunningGuest } from "../guests.js";
import { askForPostcopy, type Tuned } from "../person.js";
import { type Answer, type Cause, messageOf } from "../protocol/answer.js";
import { defaultLimits, type Limits } from "../protocol/convergence.js";
import type { Identity, Prepared, SourceReport } from "../protocol/messages.js";
import type { StreamWish } from "../protocol/stream.js";
import { no } from "./errors.js";
import { type FollowedSource, followSource, tellStanding } from "./follow-source.js";
import type { Host } from "./host.js";
import type { Job } from "./job.js";
import { endInMigration, isInPostcopy, type ManagedDomain, reasons } from "./managed-domain.js";
import { withOwnPki } from "./own-pki.js";

const kept = z.object({ xml: z.string(), undefineSource: z.boolean(), stream: streamWish });
type Kept = z.infer<typeof kept>;

export interface Leaving {
  readonly migrationId: string;
  /** Under its name at the destination. */
  readonly name: string;
  readonly undefineSource: boolean;
  readonly abortOnError: boolean;
  /** Whether a stream by TCP goes through a relay. */
  readonly relayed: boolean;
  readonly limits: Partial<Limits>;
  /** Null when the hosts share the guest's disks. */
  readonly storage: StorageCopy | null;
  readonly stream: StreamWish;
}

export class Outgoing {
  readonly identity: Identity;
  readonly domain: Domain;
  readonly peer: SourcePeer;
  /** Resolves when the domain is idle again, or gone; never rejects. */
  readonly ended: Promise<SourceReport>;
  readonly followed: FollowedSource;
  /** To post-copy. */
  readonly mayGoOver: boolean;
  readonly #host: Host;
  readonly #actor: SourceActor;
  readonly #settling: SettlePeer;
  readonly #undefineSource: boolean;
  readonly #guest: SourceGuest;
  /** Begun early: it is ready when the destination is. */
  #relay: Promise<Relay | null> = Promise.resolve(null);

  /** Takes the job. @throws LibvirtError when the domain does not run, or is not idle. */
  static begin(host: Host, entry: ManagedDomain, leaving: Leaving): Outgoing {
    const { domain, guest } = host.domains.liveOf(entry);
    host.domains.checkIdle(entry);
    const { clock, deadlines, policy } = host;
    const identity = { migrationId: leaving.migrationId, uuid: entry.uuid, name: leaving.name };
    const { stallMs } = host.config.migration;
    const limits = { ...defaultLimits, stallMs, ...entry.limits, ...leaving.limits };
    const { abortOnError, storage, stream } = leaving;
    const options = { pauseBeforeSwitchover: false, abortOnError, storage, stream };
    const driver = new QemuSourceGuest(guest.process, { clock, ...options });
    const settling = new SettlePeer(clock);
    const word: SourceHost & Kept = {
      ...{ spec: guest.spec, qemu: guest.process.handle, ...options },
      ...{ xml: domain.xml, undefineSource: leaving.undefineSource },
    };
    const input = { identity, limits, deadlines, policy };
    const opened = openSource(host.surroundings, input, driver, settling, word);
    const outgoing = new Outgoing(host, entry, domain, identity, opened, driver, settling, leaving);
    if (leaving.relayed) outgoing.#relay = outgoing.#orNone(Relay.start(outgoing.#relayDirectory));
    return outgoing;
  }

  /** Null when it had not begun: the guest has not been touched. */
  static async takeUp(host: Host, story: OpenStory): Promise<Outgoing | null> {
    const found = interrupted(story, "source");
    if (found === null) return null;
    const { xml, ...leaving } = kept.parse(found.opened.host);
    const input = wokenSource(found);
    const domain = parseDomain(xml);
    const from = await findSource(found.opened.host, host);
    const settling = new SettlePeer(
      host.clock,
      withOwnPki(host.config, input.woken?.memory.prepared?.settle),
    );
    const entry = host.domains.entryFor(domain);
    const opened = openSource(host.surroundings, input, from.guest, settling, found.opened.host);
    if (from.qemu !== null) await host.domains.enter(domain, asRunningGuest(from.spec, from.qemu));
    const outgoing = new Outgoing(host, entry, domain, input.identity, opened, from.guest, settling, leaving);
    await outgoing.#keepIntent();
    return outgoing;
  }

  private constructor(
    host: Host,
    entry: ManagedDomain,
    domain: Domain,
    identity: Identity,
    opened: Opened<SourceActor>,
    guest: SourceGuest,
    settling: SettlePeer,
    leaving: Pick<Leaving, "undefineSource" | "stream">,
  ) {
    this.identity = identity;
    this.domain = domain;
    this.#host = host;
    this.#actor = opened.actor;
    this.#guest = guest;
    this.#settling = settling;
    this.#undefineSource = leaving.undefineSource;
    this.mayGoOver = leaving.stream.postcopy !== undefined;
    settling.through = (uri) => this.#throughRelay(uri);
    this.peer = localSource(opened);
    const job = this.#job();
    host.domains.setJob(entry, job);
    this.followed = followSource(host, entry, opened.actor, job);
    this.ended = waitFor(opened.actor, (it) => it.status !== "active").then(async ({ output }) => {
      const report = output ?? { outcome: "stuck", failures: [], undone: [] };
      try {
        await this.#conclude(entry, report);
        await this.#relay;
        await endRelay(this.#relayDirectory);
        await this.followed.ended(report);
      } catch (error) {
        host.complain(`after the migration of ${domain.name}: ${messageOf(error)}`);
      }
      return report;
    });
    opened.actor.start();
  }

  async perform(prepared: Prepared, signal: AbortSignal): Promise<Answer<null>> {
    this.#settling.uri = withOwnPki(this.#host.config, prepared.settle);
    await this.#keepIntent();
    const relay = await this.#relay;
    const uri = (await this.#orNone(relay?.to(prepared.uri))) ?? prepared.uri;
    const host = hostOf(prepared.uri);
    const answer = await this.peer.perform({ ...prepared, uri, ...(host !== undefined && { host }) }, signal);
    if (answer.kind === "done" || relay === null) return answer;
    const why = await relay.why();
    return why === "" ? answer : { ...answer, cause: withMore(answer.cause, `the relay: ${why}`) };
  }

  tune(limits: Partial<Limits>): void {
    if (this.#actor.getSnapshot().status === "active") this.#actor.send({ type: "person.tuned", limits });
  }

  goOver = (): Promise<Tuned> => askForPostcopy(this.#actor);

  /** Its coordinator has gone: what is not handed over stays, what is settles. */
  abandon(): void {
    if (this.#actor.getSnapshot().status === "active")
      this.#actor.send({ type: "coordinator.confirmCancelledAsked" });
  }

  /** A new one: what the first was connected to is lost. In post-copy each page that the guest waits for needs it. */
  async #throughRelay(uri: string): Promise<string> {
    if (!this.#host.config.migration.relay) return uri;
    await endRelay(this.#relayDirectory);
    this.#relay = this.#orNone(Relay.start(this.#relayDirectory));
    const relay = await this.#relay;
    return (await this.#orNone(relay?.to(uri))) ?? uri;
  }

  get #relayDirectory(): string {
    return relayDirectory(this.#host.config.runDirectory, this.identity.migrationId);
  }

  /** Without a relay the migration is only slower at its end. */
  async #orNone<T>(wanted: Promise<T> | undefined): Promise<T | null> {
    try {
      return (await wanted) ?? null;
    } catch (error) {
      this.#host.complain(`there is no relay for ${this.domain.name}: ${messageOf(error)}`);
      return null;
    }
  }

  /** A daemon that dies when the guest has just left undefines it after its restart. */
  async #keepIntent(): Promise<void> {
    const { domains } = this.#host;
    const { live } = domains.entryFor(this.domain);
    if (this.#undefineSource && live !== null)
      await domains.keepHandleOf(this.domain, live.guest.process.handle, {
        leaving: this.identity.migrationId,
      });
  }

  async #conclude(entry: ManagedDomain, { outcome }: SourceReport): Promise<void> {
    const { domains } = this.#host;
    switch (outcome) {
      case "left":
        if (this.#undefineSource) await domains.leaveForGood(entry, "migrated");
        else await this.#leaveDefined(entry);
        break;
      case "lost":
        // After a post-copy whose destination has lost it there is still a QEMU: a person has to give the guest up.
        if (entry.live !== null && isAlive(entry.live.guest.process.handle))
          tellStanding(this.#host, entry, "postcopyFailed");
        else await domains.leave(entry, endInMigration(entry.live));
        break;
      case "stayed": {
        const { running, status } = (await entry.live?.guest.process.main.execute("query-status", {})) ?? {
          ...{ running: false, status: "unknown" },
        };
        const before = entry.state.name;
        entry.state = running
          ? { name: "running", reason: reasons.running.migrationCanceled }
          : { name: "paused", reason: reasons.paused[status === "io-error" ? "ioError" : "user"] };
        if (running && before === "paused") domains.tell(entry, "resumed", "migrated");
        break;
      }
      case "stuck":
        // Somebody has to look at it: its job stays.
        return;
    }
    domains.setJob(entry, null);
  }

  /** It runs elsewhere from now on: this host does not start it again by itself (G1). */
  async #leaveDefined(entry: ManagedDomain): Promise<void> {
    const { domains } = this.#host;
    if (entry.autostart) await domains.setAutostart(entry, false);
    await domains.leave(entry, "migrated");
  }

  #job(): Job {
    return {
      what: "migration out",
      startedMs: this.#host.clock.now(),
      progress: () => this.#actor.getSnapshot().context.progress,
      abort: async () => {
        const answer = await this.peer.abort(AbortSignal.timeout(10_000));
        if (answer.kind !== "done") return { accepted: false, why: answer.cause.message };
        const { accepted } = answer.value;
        const why = "cannot abort migration in post-copy mode";
        return !accepted && isInPostcopy(this.#host.domains.byUuid(this.domain.uuid))
          ? { accepted, why }
          : answer.value;
      },
      suspend: async () => {
        const answer = await this.#guest.suspend(AbortSignal.timeout(10_000));
        if (answer.kind !== "done") throw no("OPERATION_FAILED", answer.cause.message);
      },
    };
  }
}

/** The first failure is the story. */
function withMore(cause: Cause, words: string): Cause {
  const [first, ...later] = cause.failures ?? [];
  if (first === undefined) return { ...cause, message: `${cause.message}; ${words}` };
  return { ...cause, failures: [{ ...first, qemu: [...(first.qemu ?? []), words] }, ...later] };
}
