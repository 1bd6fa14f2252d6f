// A server of RPC programs: listens at several addresses, limits the number of clients, and shuts down in order.

import type { Server, Socket } from "node:net";
import { apart } from "../../../effects/isolate-callback.js";
import { resolvesWithin } from "../../../effects/within.js";
import type { UnixPlace } from "../../platform/listen.js";
import { Admission } from "./admission.js";
import { RpcUnreadError } from "./errors.js";
import { type Accept, listenTcp, listenTls, listenUnix, type TcpPlace, type TlsPlace } from "./listen.js";
import { ServerClient, type ServingOptions } from "./server-client.js";
import type { ClientIdentity, RpcClient } from "./service.js";
import { type SparingLog, sparingLog } from "./sparing-log.js";

export interface ServerOptions extends ServingOptions {
  /** Maximum number of clients at all addresses together; further clients are rejected. Default: libvirt's, 5000. */
  readonly maxClients?: number;
  /** Maximum number of connections in the TLS handshake, counted separately from the clients. Default: 100. */
  readonly maxAnonymousClients?: number;
  /** Time limit for the TLS handshake. Default: 10 s. */
  readonly handshakeMs?: number;
  /** Receives a rate-limited line about connections that were closed by a limit. */
  readonly log?: (sentence: string) => void;
}

interface PlaceOptions {
  /** Initial value of the clients' `readOnly`, as for libvirt's read-only socket. */
  readonly readOnly?: boolean;
}

const defaultClients = 5_000;
const defaultAnonymousClients = 100;
const defaultHandshakeMs = 10_000;

export class RpcServer {
  readonly #options: ServerOptions;
  readonly #listeners = new Set<Server>();
  readonly #clients = new Set<ServerClient>();
  readonly #admission: Admission;
  readonly #log: SparingLog;
  #nextId = 1;
  #stopping = false;

  constructor(options: ServerOptions) {
    this.#options = options;
    const { clock, log = () => {} } = options;
    this.#log = sparingLog(clock, (sentence) => apart(() => log(sentence)));
    this.#admission = new Admission({
      clock,
      maxAnonymousClients: options.maxAnonymousClients ?? defaultAnonymousClients,
      handshakeMs: options.handshakeMs ?? defaultHandshakeMs,
      log: this.#log,
    });
  }

  get clients(): readonly RpcClient[] {
    return [...this.#clients];
  }

  /** @throws RpcListenError, for example when another process listens on the socket. */
  async listenUnix(place: UnixPlace & PlaceOptions): Promise<void> {
    this.#listening(await listenUnix(place, this.#accepting(place)));
  }

  /** @returns the port. @throws RpcListenError */
  async listenTcp(place: TcpPlace & PlaceOptions): Promise<number> {
    return this.#listening(await listenTcp(place, this.#accepting(place)));
  }

  /** @returns the port. @throws RpcListenError, for example when a certificate cannot be read. */
  async listenTls(place: TlsPlace & PlaceOptions): Promise<number> {
    return this.#listening(await listenTls(place, this.#accepting(place), this.#admission));
  }

  /** Accepts no new clients and calls, lets running calls finish until the deadline, and closes all connections. */
  async stop({ deadlineMs }: { readonly deadlineMs: number }): Promise<void> {
    const { clock } = this.#options;
    this.#stopping = true;
    for (const listener of this.#listeners) listener.close();
    this.#admission.closeAll();
    const drained = Promise.all([...this.#clients].map((client) => client.drain()));
    await resolvesWithin(clock, deadlineMs, drained);
    for (const client of [...this.#clients]) client.close("the server is shutting down");
  }

  #listening(listener: Server): number {
    this.#listeners.add(listener);
    // Failing to accept a client, for example for lack of file descriptors, must not end the server.
    listener.on("error", (error) => apart(() => this.#options.onError?.(error, "accept")));
    const address = listener.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  #accepting({ readOnly = false }: PlaceOptions): Accept {
    return (socket: Socket, identity) => {
      const { maxClients = defaultClients } = this.#options;
      if (this.#stopping || this.#clients.size >= maxClients) {
        if (!this.#stopping)
          this.#log(
            "clients",
            `rejected ${described(identity)}: ${maxClients} clients are connected (limits.maxClients)`,
          );
        socket.destroy();
        return;
      }
      const client = new ServerClient(socket, { id: this.#nextId++, identity, readOnly }, this.#options);
      this.#clients.add(client);
      void client.closed.then((why) => {
        this.#clients.delete(client);
        if (why instanceof RpcUnreadError)
          this.#log(
            "unread",
            `disconnected ${described(identity)}: ${why.message} (limits.maxQueuedMessages)`,
          );
      });
    };
  }
}

function described(identity: ClientIdentity): string {
  if (identity.transport === "unix") return "a client of the unix socket";
  if (identity.transport === "tcp") return `the client at ${identity.address}`;
  // Quoted, since the certificate's name may contain any character.
  return `the client ${JSON.stringify(identity.dn)} at ${identity.address}`;
}
