// Offline migration: a definition moves, and no guest. Upholds G1: what has arrived is *away* at the destination, and is
// started only when the source has given the guest up, durably. The source does that in Confirm and tells the destination;
// if either is lost, the destination asks before it starts the guest.

import type { Domain } from "../../drivers/domain-xml/domain.js";
import { bitsForDestination } from "../../drivers/libvirt/client/flags.js";
import { featuresOf, negotiateAsSource } from "../../drivers/libvirt/client/negotiation.js";
import { stepCalls } from "../../drivers/libvirt/client/protocol-calls.js";
import { Redial } from "../../drivers/libvirt/client/reconnecting-client.js";
import { writeCookie } from "../../drivers/libvirt/cookie/write.js";
import type { RpcClient } from "../../drivers/libvirt/rpc/service.js";
import { messageOf } from "../../protocol/effect-result.js";
import { tellConceded } from "../domains/away.js";
import { checkEmulator } from "../domains/emulators.js";
import { isActive, type ManagedDomain } from "../domains/managed-domain.js";
import type { Away } from "../domains/records.js";
import type { Host } from "../host.js";
import { withOwnCertificates } from "../own-pki.js";
import { destinationOfClient } from "../reach.js";
import { libvirtError } from "../rpc/errors.js";
import { finishCookie, readBeginCookie, readFinishCookie } from "./cookies.js";
import { isSame, newSecret, receiptOf } from "./evidence.js";
import { renamed, type StepRequest } from "./request.js";
import { destinationOf } from "./source-checks.js";

const empty = new Uint8Array();

/** Begun at this host. */
interface Leaving {
  readonly migrationId: string;
  readonly secret: string;
  /** Null for one that this host leads itself. */
  readonly leader: RpcClient | null;
}

/** Prepared at this host. */
interface Coming {
  readonly domain: Domain;
  readonly nameAtSource: string;
  readonly leader: RpcClient;
  /** Which migration it is, and which host gives the guest up; null when the source has not told, as a libvirtd does not. */
  readonly from: (Away & { readonly secret: string }) | null;
}

export class OfflineMigrations {
  readonly #host: Host;
  /** By uuid. */
  readonly #leaving = new Map<string, Leaving>();
  /** Prepared and not finished, by the name at the destination. */
  readonly #coming = new Map<string, Coming>();

  constructor(host: Host) {
    this.#host = host;
  }

  /** Begin at the source: what is defined, also of a guest that runs. */
  async begin(entry: ManagedDomain, { parameters }: StepRequest, client: RpcClient | null) {
    const { domains, config, ids } = this.#host;
    domains.checkIdle(entry);
    if (entry.definition === null)
      throw libvirtError("OPERATION_INVALID", "a transient domain has no definition to move");
    const { xml = entry.definition.xml } = parameters;
    const { name, uuid } = destinationOf(domains.parse(xml), entry);
    const { hostname, hostUuid, uri } = config;
    const leaving = { migrationId: ids.next(), secret: newSecret(ids), leader: client };
    this.#leaving.set(uuid, leaving);
    void client?.closed.then(() => {
      if (this.#leaving.get(uuid) === leaving) this.#leaving.delete(uuid);
    });
    const { migrationId: migration, secret } = leaving;
    const switchover = { version: 1, migration, secret, settle: uri, backings: [] };
    return { xml, cookieOut: writeCookie({ name, uuid, hostname, hostUuid, features: [], switchover }) };
  }

  /** Prepare at the destination: remembers it for as long as the client is there. */
  async prepare({ parameters, cookie }: StepRequest, client: RpcClient) {
    const { domains, config, clock } = this.#host;
    if (parameters.xml === undefined) throw libvirtError("INVALID_ARG", "no domain XML passed");
    const given = domains.parse(parameters.xml);
    const { persistentXml } = parameters;
    const kept = persistentXml === undefined ? given : destinationOf(domains.parse(persistentXml), given);
    const domain = renamed(domains, kept.xml, parameters.name);
    domains.checkIdentity(domain);
    const there = domains.all.find((entry) => entry.uuid === domain.uuid);
    if (there !== undefined) domains.checkIdle(there);
    if (there !== undefined && isActive(there))
      throw libvirtError("OPERATION_INVALID", `domain '${domain.name}' is already active`);
    checkEmulator(config, domain);
    if (this.#coming.has(domain.name))
      throw libvirtError("OPERATION_INVALID", `domain '${domain.name}' is coming in already`);
    const { hostname = "", switchover } = readBeginCookie(this.#host, cookie, given) ?? {};
    const { migration: migrationId, secret, settle: uri = null } = switchover ?? {};
    const from =
      migrationId === undefined || secret === undefined
        ? null
        : { migrationId, hostname, uri, sinceMs: clock.now(), secret };
    this.#coming.set(domain.name, { domain, leader: client, nameAtSource: given.name, from });
    void client.closed.then(() => this.#forget(domain));
    // libvirt's client wants a URI here, though it leaves out the step that would use it.
    const { host = config.hostname } = config.migration;
    return { cookieOut: empty, uriOut: parameters.uri ?? `tcp:${host}:${config.migration.ports[0]}` };
  }

  /** Finish at the destination: defines it. */
  async finish(
    name: string,
    cancelled: boolean,
    client: RpcClient,
  ): Promise<{ entry: ManagedDomain; cookieOut: Uint8Array }> {
    const coming = this.#coming.get(name);
    if (coming === undefined || coming.leader !== client)
      throw libvirtError("OPERATION_INVALID", `domain '${name}' is not processing incoming migration`);
    const { domain, from, nameAtSource } = coming;
    this.#forget(domain);
    if (cancelled) throw libvirtError("MIGRATE_FINISH_OK", "migration successfully aborted");
    const { domains } = this.#host;
    if (from === null) return { entry: await domains.define(domain), cookieOut: empty };
    const entry = await domains.defineAway(domain, from);
    const { migrationId } = from;
    const identity = { migrationId, uuid: domain.uuid, name };
    const receipt = receiptOf(from.secret, migrationId);
    return { entry, cookieOut: finishCookie(this.#host, identity, nameAtSource, receipt) };
  }

  /**
   * Confirm at the source, which gives the guest up. The definition is removed only with the destination's receipt; without
   * it, it stays, as *away*. @throws LibvirtError when the message is not of the migration that was begun.
   */
  async confirm(
    entry: ManagedDomain,
    { flags, cookie }: StepRequest,
    cancelled: boolean,
    client: RpcClient | null,
  ): Promise<void> {
    const { uuid, name } = entry;
    const leaving = this.#leaving.get(uuid);
    const { switchover, hostname = "" } = readFinishCookie(this.#host, cookie, entry) ?? {};
    const isOurs = switchover ? switchover.migration === leaving?.migrationId : leaving?.leader === client;
    if (leaving === undefined || !isOurs)
      throw libvirtError(
        "OPERATION_INVALID",
        `Confirm is not about an offline migration of '${name}' that is under way`,
      );
    this.#leaving.delete(uuid);
    // The destination may have the definition all the same: it asks this host before it starts the guest.
    if (cancelled) return;
    const { migrationId, secret } = leaving;
    const receipt = receiptOf(secret, migrationId);
    const isProven = switchover?.receipt !== undefined && isSame(receipt, switchover.receipt);
    const uri = (isProven && switchover?.settle) || null;
    const undefines = isProven && flags.has("UNDEFINE_SOURCE");
    const isGiven = await this.#giveUp(entry, { migrationId, hostname, uri }, undefines);
    if (uri === null || !isGiven) return;
    const { config, clock, warn } = this.#host;
    await tellConceded(config, clock, uri, { migrationId, uuid, secret }).catch((error: unknown) =>
      warn(`${hostname} asks for ${name} when it starts it: ${messageOf(error)}`),
    );
  }

  /**
   * Durable when it resolves: whether the guest may be started at the destination from now on. A guest that runs here, or
   * that another host has, is not this host's to give.
   */
  async #giveUp(entry: ManagedDomain, to: Omit<Away, "sinceMs">, undefines: boolean): Promise<boolean> {
    const { domains, clock } = this.#host;
    const isGiven = !isActive(entry) && entry.away === null;
    if (isGiven && entry.autostart) await domains.setAutostart(entry, false);
    if (isGiven) await domains.concede(entry, { ...to, sinceMs: clock.now(), given: true });
    if (undefines) await domains.undefine(entry);
    return isGiven;
  }

  /** All steps, with this host as the source. */
  async peerToPeer(entry: ManagedDomain, words: StepRequest, destinationUri: string): Promise<void> {
    const { xml, cookieOut } = await this.begin(entry, words, null);
    let cookie: Uint8Array = empty;
    const { config, clock } = this.#host;
    const there = new Redial(withOwnCertificates(config, destinationOfClient(config, destinationUri)), clock);
    const name = words.parameters.name ?? entry.name;
    const step = {
      parameters: { ...words.parameters, name, xml },
      flags: bitsForDestination(words.flags),
      options: {},
    };
    try {
      const protocol = negotiateAsSource(await featuresOf(await there.rpc()), words);
      const calls = stepCalls(protocol, { xmlMigratable: true });
      await calls.prepare(there, { ...step, cookieIn: cookieOut });
      cookie = (await calls.finish(there, { ...step, cookieIn: empty, cancelled: false })).cookieOut;
    } catch (error) {
      throw libvirtError("OPERATION_FAILED", `at ${destinationUri}: ${messageOf(error)}`, { cause: error });
    } finally {
      await there.close();
    }
    await this.confirm(entry, { ...words, cookie }, false, null);
  }

  #forget(domain: Domain): void {
    if (this.#coming.get(domain.name)?.domain === domain) this.#coming.delete(domain.name);
  }
}
