// Offline migration: a definition moves, and no guest. No machine and no journal: whatever is lost on the way, each host
// has the definition or not, and the source gives it up only in the last step.

import { writeCookie } from "../drivers/domain/cookie/write.js";
import type { Domain } from "../drivers/domain/domain.js";
import { bitsForDestination, type MigrateFlag } from "../drivers/libvirt/flags.js";
import { featuresOf, negotiateAsSource } from "../drivers/libvirt/negotiation.js";
import { Redial } from "../drivers/libvirt/redial.js";
import { stepCalls } from "../drivers/libvirt/step-calls.js";
import type { RpcClient } from "../drivers/libvirt-rpc/service.js";
import { messageOf } from "../protocol/answer.js";
import { checkEmulator } from "./emulators.js";
import { no } from "./errors.js";
import type { Host } from "./host.js";
import { isActive, type ManagedDomain } from "./managed-domain.js";
import { destinationOf } from "./may-leave.js";
import { withOwnPki } from "./own-pki.js";
import { destinationOfClient } from "./reach.js";
import { renamed, type StepWords } from "./step-words.js";

const empty = new Uint8Array();

export class OfflineMigrations {
  readonly #host: Host;
  /** Prepared and not finished, by the name at the destination. */
  readonly #coming = new Map<string, { readonly domain: Domain; readonly leader: RpcClient }>();

  constructor(host: Host) {
    this.#host = host;
  }

  /** Begin at the source: what is defined, also of a guest that runs. */
  async begin(entry: ManagedDomain, { flags, parameters }: StepWords) {
    const { domains, config } = this.#host;
    checkFlags(flags);
    domains.checkIdle(entry);
    if (entry.definition === null)
      throw no("OPERATION_INVALID", "a transient domain has no definition to move");
    const { xml = entry.definition.xml } = parameters;
    const { name, uuid } = destinationOf(domains.parse(xml), entry);
    const { hostname, hostUuid } = config;
    return { xml, cookieOut: writeCookie({ name, uuid, hostname, hostUuid, features: [] }) };
  }

  /** Prepare at the destination: remembers it for as long as the client is there. */
  async prepare({ flags, parameters }: StepWords, client: RpcClient) {
    const { domains, config } = this.#host;
    checkFlags(flags);
    if (parameters.xml === undefined) throw no("INVALID_ARG", "no domain XML passed");
    const given = domains.parse(parameters.xml);
    const { persistentXml } = parameters;
    const kept = persistentXml === undefined ? given : destinationOf(domains.parse(persistentXml), given);
    const domain = renamed(domains, kept.xml, parameters.name);
    domains.checkIdentity(domain);
    const there = domains.all.find((entry) => entry.uuid === domain.uuid);
    if (there !== undefined) domains.checkIdle(there);
    if (there !== undefined && isActive(there))
      throw no("OPERATION_INVALID", `domain '${domain.name}' is already active`);
    checkEmulator(config, domain);
    if (this.#coming.has(domain.name))
      throw no("OPERATION_INVALID", `domain '${domain.name}' is coming in already`);
    this.#coming.set(domain.name, { domain, leader: client });
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
    const { domain, leader } = this.#coming.get(name) ?? {};
    if (domain === undefined || leader !== client)
      throw no("OPERATION_INVALID", `domain '${name}' is not processing incoming migration`);
    this.#forget(domain);
    if (cancelled) throw no("MIGRATE_FINISH_OK", "migration successfully aborted");
    return { entry: await this.#host.domains.define(domain), cookieOut: empty };
  }

  /** Confirm at the source. */
  async confirm(entry: ManagedDomain, { flags }: StepWords, cancelled: boolean): Promise<void> {
    if (!cancelled && flags.has("UNDEFINE_SOURCE")) await this.#host.domains.undefine(entry);
  }

  /** All steps, with this host as the source. */
  async peerToPeer(entry: ManagedDomain, words: StepWords, destinationUri: string): Promise<void> {
    const { xml, cookieOut } = await this.begin(entry, words);
    const { config, clock } = this.#host;
    const there = new Redial(withOwnPki(config, destinationOfClient(config, destinationUri)), clock);
    const name = words.parameters.name ?? entry.name;
    const step = {
      parameters: { ...words.parameters, name, xml },
      ...{ flags: bitsForDestination(words.flags), options: {} },
    };
    try {
      const protocol = negotiateAsSource(await featuresOf(await there.rpc()), words);
      const calls = stepCalls(protocol, { xmlMigratable: true });
      await calls.prepare(there, { ...step, cookieIn: cookieOut });
      await calls.finish(there, { ...step, cookieIn: empty, cancelled: false });
    } catch (error) {
      throw no("OPERATION_FAILED", `at ${destinationUri}: ${messageOf(error)}`, { cause: error });
    } finally {
      await there.close();
    }
    await this.confirm(entry, words, false);
  }

  #forget(domain: Domain): void {
    if (this.#coming.get(domain.name)?.domain === domain) this.#coming.delete(domain.name);
  }
}

function checkFlags(flags: ReadonlySet<MigrateFlag>): void {
  if (!flags.has("PERSIST_DEST"))
    throw no("OPERATION_INVALID", "offline migration must be specified with the persistent flag set");
}
