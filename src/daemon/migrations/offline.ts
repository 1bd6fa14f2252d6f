// Offline migration: moves a definition without a running guest. Upholds G1: the arrived domain is *away* at the destination
// and is started only after the source has durably given the guest up. The source does so in Confirm and informs the
// destination; if either is lost, the destination asks before it starts the guest.

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

/** An offline migration that began on this host. */
interface Leaving {
  readonly migrationId: string;
  readonly secret: string;
  /** Null for a peer-to-peer migration, which this host leads itself. */
  readonly leader: RpcClient | null;
}

/** An offline migration that was prepared on this host. */
interface Coming {
  readonly domain: Domain;
  readonly nameAtSource: string;
  readonly leader: RpcClient;
  /** The migration and the host that gives the guest up; null when the source sent neither, as a libvirtd does not. */
  readonly from: (Away & { readonly secret: string }) | null;
}

export class OfflineMigrations {
  readonly #host: Host;
  /** Keyed by uuid. */
  readonly #leaving = new Map<string, Leaving>();
  /** Prepared and not finished; keyed by the name at the destination. */
  readonly #coming = new Map<string, Coming>();

  constructor(host: Host) {
    this.#host = host;
  }

  /** Begin at the source: returns the definition, also of a running guest. */
  async begin(entry: ManagedDomain, { parameters }: StepRequest, client: RpcClient | null) {
    const { domains, config, ids } = this.#host;
    domains.checkIdle(entry);
    if (entry.definition === null)
      throw libvirtError(
        "OPERATION_INVALID",
        "cannot migrate a transient domain offline: it has no definition",
      );
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

  /** Prepare at the destination: keeps the definition for as long as the client is connected. */
  async prepare({ parameters, cookie }: StepRequest, client: RpcClient) {
    const { domains, config, clock } = this.#host;
    if (parameters.xml === undefined) throw libvirtError("INVALID_ARG", "no domain XML passed");
    const given = domains.parse(parameters.xml);
    const { persistentXml } = parameters;
    const kept = persistentXml === undefined ? given : destinationOf(domains.parse(persistentXml), given);
    const domain = renamed(domains, kept.xml, parameters.name);
    domains.checkIdentity(domain);
    const known = domains.all.find((entry) => entry.uuid === domain.uuid);
    if (known !== undefined) domains.checkIdle(known);
    if (known !== undefined && isActive(known))
      throw libvirtError("OPERATION_INVALID", `domain '${domain.name}' is already active`);
    checkEmulator(config, domain);
    if (this.#coming.has(domain.name))
      throw libvirtError(
        "OPERATION_INVALID",
        `domain '${domain.name}' is already being migrated to this host`,
      );
    const { hostname = "", switchover } = readBeginCookie(this.#host, cookie, given) ?? {};
    const { migration: migrationId, secret, settle: uri = null } = switchover ?? {};
    const from =
      migrationId === undefined || secret === undefined
        ? null
        : { migrationId, hostname, uri, sinceMs: clock.now(), secret };
    this.#coming.set(domain.name, { domain, leader: client, nameAtSource: given.name, from });
    void client.closed.then(() => this.#forget(domain));
    // libvirt's client requires a URI here, although it skips the step that would use it.
    const { host = config.hostname } = config.migration;
    return { cookieOut: empty, uriOut: parameters.uri ?? `tcp:${host}:${config.migration.ports[0]}` };
  }

  /** Finish at the destination: defines the domain. */
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
   * Confirm at the source, which gives the guest up. The definition is removed only with the destination's receipt; without a
   * receipt the domain stays as *away*. @throws LibvirtError when the message belongs to another migration.
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
        `no matching offline migration of '${name}' is under way for this Confirm`,
      );
    this.#leaving.delete(uuid);
    // The destination may have the definition nevertheless; it asks this host before it starts the guest.
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
      warn(
        `${hostname} was not informed that ${name} was given up, and will ask when it starts the guest: ${messageOf(error)}`,
      ),
    );
  }

  /**
   * Returns true if the guest may be started at the destination from now on; durable when it resolves. A guest that runs here,
   * or that is on another host, cannot be given up by this host.
   */
  async #giveUp(entry: ManagedDomain, to: Omit<Away, "sinceMs">, undefines: boolean): Promise<boolean> {
    const { domains, clock } = this.#host;
    const isGiven = !isActive(entry) && entry.away === null;
    if (isGiven && entry.autostart) await domains.setAutostart(entry, false);
    if (isGiven) await domains.concede(entry, { ...to, sinceMs: clock.now(), given: true });
    if (undefines) await domains.undefine(entry);
    return isGiven;
  }

  /** Performs all steps, with this host as the source. */
  async peerToPeer(entry: ManagedDomain, request: StepRequest, destinationUri: string): Promise<void> {
    const { xml, cookieOut } = await this.begin(entry, request, null);
    let cookie: Uint8Array = empty;
    const { config, clock } = this.#host;
    const there = new Redial(withOwnCertificates(config, destinationOfClient(config, destinationUri)), clock);
    const name = request.parameters.name ?? entry.name;
    const step = {
      parameters: { ...request.parameters, name, xml },
      flags: bitsForDestination(request.flags),
      options: {},
    };
    try {
      const protocol = negotiateAsSource(await featuresOf(await there.rpc()), request);
      const calls = stepCalls(protocol, { xmlMigratable: true });
      await calls.prepare(there, { ...step, cookieIn: cookieOut });
      cookie = (await calls.finish(there, { ...step, cookieIn: empty, cancelled: false })).cookieOut;
    } catch (error) {
      throw libvirtError("OPERATION_FAILED", `destination ${destinationUri}: ${messageOf(error)}`, {
        cause: error,
      });
    } finally {
      await there.close();
    }
    await this.confirm(entry, { ...request, cookie }, false, null);
  }

  #forget(domain: Domain): void {
    if (this.#coming.get(domain.name)?.domain === domain) this.#coming.delete(domain.name);
  }
}
