// Connections whose client has not proved yet who it is: how many there may be at once, and for how long. They are counted
// apart from the clients, so that strangers cannot take the places of those who are let in.

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
  /** By the address of the peer, in the order in which they came. */
  readonly #waiting = new Map<string, Waiting>();

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /**
   * Begins to wait for this connection's proof. Where too many wait, the one that has waited for the longest is closed: a
   * client that proves itself at once gets in, however many others only hold their connections.
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

  /** This connection's client has proved itself, or has failed to. */
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

  /** The same address may have come again meanwhile. */
  #forget(address: string, socket: Socket): void {
    const waiting = this.#waiting.get(address);
    if (waiting?.socket !== socket) return;
    this.#options.clock.clearTimeout(waiting.timer);
    this.#waiting.delete(address);
  }
}

/** Names the two ends of a connection as the peer's address, which no other connection to the same port has meanwhile. */
export const addressOf = (socket: Socket): string =>
  `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? "?"}`;
