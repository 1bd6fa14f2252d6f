// Delivers domain events to the clients that registered for them, by callback ids or in libvirt's older form without.

import { eventIds, lifecycleEvents } from "../../drivers/libvirt/rpc/constants.js";
import { remote } from "../../drivers/libvirt/rpc/procedures.js";
import type { RpcClient } from "../../drivers/libvirt/rpc/service.js";
import { finishedStats } from "../domains/job.js";
import type { LifecycleEvent, ManagedDomain } from "../domains/managed-domain.js";
import type { Host } from "../host.js";
import { libvirtError } from "./errors.js";
import { toWireDomain } from "./wire-domain.js";

interface Callback {
  readonly id: number;
  readonly event: number;
  /** Null for the events of all domains. */
  readonly uuid: string | null;
}

interface Listener {
  readonly callbacks: Callback[];
  nextId: number;
  /** Events registered in libvirt's older form, without a callback id. */
  readonly events: Set<number>;
}

/** A client may also register for events that never occur here. */
const known: ReadonlySet<number> = new Set(Object.values(eventIds));
const maxEventId = 30;

export class EventClients {
  readonly #listeners = new Map<RpcClient, Listener>();

  constructor({ domains, jobs }: Host) {
    domains.onEvent((lifecycleEvent) => this.#tell(lifecycleEvent));
    jobs.listen({
      iterated: (domain, iteration) =>
        this.#tellCallbacks(eventIds.migrationIteration, domain, (client, callbackID) =>
          client.send(remote.messages.domainEventCallbackMigrationIteration, {
            callbackID,
            dom: toWireDomain(domain),
            iteration,
          }),
        ),
      ended: (domain, job) =>
        this.#tellCallbacks(eventIds.jobCompleted, domain, (client, callbackID) =>
          client.send(remote.messages.domainEventCallbackJobCompleted, {
            callbackID,
            dom: toWireDomain(domain),
            params: finishedStats(job).params,
          }),
        ),
    });
  }

  /** Returns the callback's id, which counts from 0 per client. */
  register(client: RpcClient, event: number, uuid: string | null): number {
    this.#check(event);
    const listener = this.#of(client);
    const id = listener.nextId++;
    listener.callbacks.push({ id, event, uuid });
    return id;
  }

  deregister(client: RpcClient, id: number): void {
    const { callbacks } = this.#of(client);
    const index = callbacks.findIndex((callback) => callback.id === id);
    if (index === -1) throw libvirtError("INVALID_ARG", `domain event callback ${id} not registered`);
    callbacks.splice(index, 1);
  }

  registerOld(client: RpcClient, event: number): void {
    this.#check(event);
    this.#of(client).events.add(event);
  }

  deregisterOld(client: RpcClient, event: number): void {
    if (!this.#of(client).events.delete(event))
      throw libvirtError("INVALID_ARG", `domain event ${event} not registered`);
  }

  #check(event: number): void {
    if (!known.has(event) && !(event >= 0 && event < maxEventId))
      throw libvirtError("INVALID_ARG", `unsupported event ID ${event}`);
  }

  #of(client: RpcClient): Listener {
    let listener = this.#listeners.get(client);
    if (listener === undefined) {
      listener = { callbacks: [], nextId: 0, events: new Set() };
      this.#listeners.set(client, listener);
      void client.closed.then(() => this.#listeners.delete(client));
    }
    return listener;
  }

  #tell({ domain, event, detail }: LifecycleEvent): void {
    const body = { dom: toWireDomain(domain), event: lifecycleEvents[event], detail };
    this.#tellCallbacks(eventIds.lifecycle, domain, (client, callbackID) =>
      client.send(remote.messages.domainEventCallbackLifecycle, { callbackID, ...body }),
    );
    for (const [client, { events }] of this.#listeners)
      if (events.has(eventIds.lifecycle)) client.send(remote.messages.domainEventLifecycle, body);
  }

  #tellCallbacks(
    event: number,
    { uuid }: ManagedDomain,
    send: (client: RpcClient, callbackId: number) => void,
  ): void {
    for (const [client, { callbacks }] of this.#listeners)
      for (const callback of callbacks)
        if (callback.event === event && (callback.uuid === null || callback.uuid === uuid))
          send(client, callback.id);
  }
}
