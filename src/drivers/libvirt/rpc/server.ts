// A server of RPC programs: listens in several places, keeps its clients within their number, and stops in good order.

import type { Server, Socket } from "node:net";
import { apart } from "../../../effects/isolate-callback.js";
import type { UnixPlace } from "../../platform/listen.js";
import { Admission } from "./admission.js";
import { RpcUnreadError } from "./errors.js";
import { type Accept, listenTcp, listenTls, listenUnix, type TcpPlace, type TlsPlace } from "./listen.js";
import { ServerClient, type ServingOptions } from "./server-client.js";
import type { ClientIdentity, RpcClient } from "./service.js";
import { type SparingLog, sparingLog } from "./sparing-log.js";

export interface ServerOptions extends ServingOptions {
  /** Of all places together; who comes after them is turned away. Default: libvirt's own, 5000. */
  readonly maxClients?: number;
  /** Connections that have not finished the TLS handshake, counted apart from the clients. Default: 100. */
  readonly maxAnonymousClients?: number;
  /** How long the TLS handshake may take. Default: 10 s. */
  readonly handshakeMs?: number;
  /** Told of each connection that a limit has closed, sparingly. */
  readonly log?: (sentence: string) => void;
}

interface PlaceOptions {
  /** As libvirt's socket for reading: what its clients' `readOnly` begins as. */
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

  /** @throws RpcListenError: among others, when another process listens there. */
  async listenUnix(place: UnixPlace & PlaceOptions): Promise<void> {
    this.#listening(await listenUnix(place, this.#accepting(place)));
  }

  /** @returns the port. @throws RpcListenError */
  async listenTcp(place: TcpPlace & PlaceOptions): Promise<number> {
    return this.#listening(await listenTcp(place, this.#accepting(place)));
  }

  /** @returns the port. @throws RpcListenError: among others, when a certificate cannot be read. */
  async listenTls(place: TlsPlace & PlaceOptions): Promise<number> {
    return this.#listening(await listenTls(place, this.#accepting(place), this.#admission));
  }

  /** No new client, no new call; what runs may finish until the deadline; then all connections are closed. */
  async stop({ deadlineMs }: { readonly deadlineMs: number }): Promise<void> {
    const { clock } = this.#options;
    this.#stopping = true;
    for (const listener of this.#listeners) listener.close();
    this.#admission.closeAll();
    let timer: unknown;
    const deadline = new Promise<void>((resolve) => {
      timer = clock.setTimeout(resolve, deadlineMs);
    });
    await Promise.race([Promise.all([...this.#clients].map((client) => client.drain())), deadline]);
    clock.clearTimeout(timer);
    for (const client of [...this.#clients]) client.close("the server stops");
  }

  #listening(listener: Server): number {
    this.#listeners.add(listener);
    // A client that could not be accepted, e.g. for want of file descriptors, is no reason to end.
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
            `turned away ${described(identity)}: ${maxClients} clients are connected (limits.maxClients)`,
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
  // Quoted, since the name may contain anything that its authority has signed.
  return `the client ${JSON.stringify(identity.dn)} at ${identity.address}`;
}
