// Limits the number and the duration of connections whose client is not authenticated yet. They are counted separately from
// the clients, so that unauthenticated peers cannot use up the places of authenticated clients.

import type { Socket } from "node:net";
import type { Clock } from "../../../effects/ports.js";
import type { SparingLog } from "./sparing-log.js";

interface AdmissionOptions {
  readonly clock: Clock;
  readonly maxAnonymousClients: number;
  readonly handshakeMs: number;
  readonly log: SparingLog;
}

interface Waiting {
  readonly socket: Socket;
  readonly timer: unknown;
}

export class Admission {
  readonly #options: AdmissionOptions;
  /** Pending connections by the peer's address, in order of arrival. */
  readonly #waiting = new Map<string, Waiting>();

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /**
   * Starts the time limit for this connection's handshake. At the limit, the oldest pending connection is closed: a client
   * that completes the handshake promptly is admitted, however many other connections stay idle.
   */
  enter(socket: Socket): void {
    const { clock, maxAnonymousClients, handshakeMs, log } = this.#options;
    const key = addressOf(socket);
    const [oldest] = this.#waiting;
    if (oldest !== undefined && this.#waiting.size >= maxAnonymousClients) {
      const [address] = oldest;
      log(
        "anonymous",
        `closed the connection from ${address}: ${maxAnonymousClients} connections have not finished the TLS handshake (limits.maxAnonymousClients)`,
      );
      this.#close(address);
    }
    const timer = clock.setTimeout(() => {
      log(
        "handshake",
        `closed the connection from ${key}: it has not finished the TLS handshake within ${handshakeMs} ms (limits.handshakeMs)`,
      );
      this.#close(key);
    }, handshakeMs);
    this.#waiting.set(key, { socket, timer });
    socket.once("close", () => this.#forget(key, socket));
  }

  /** Ends the time limit: the client has completed the handshake, or failed. */
  leave(address: string): void {
    const waiting = this.#waiting.get(address);
    if (waiting !== undefined) this.#forget(address, waiting.socket);
  }

  closeAll(): void {
    for (const address of [...this.#waiting.keys()]) this.#close(address);
  }

  #close(address: string): void {
    const waiting = this.#waiting.get(address);
    if (waiting === undefined) return;
    this.#forget(address, waiting.socket);
    waiting.socket.destroy();
  }

  /** Removes the socket only: the same address may have connected again. */
  #forget(address: string, socket: Socket): void {
    const waiting = this.#waiting.get(address);
    if (waiting?.socket !== socket) return;
    this.#options.clock.clearTimeout(waiting.timer);
    this.#waiting.delete(address);
  }
}

/** Identifies a connection by the peer's address, which is unique among the open connections to one port. */
export const addressOf = (socket: Socket): string =>
  `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? "?"}`;
