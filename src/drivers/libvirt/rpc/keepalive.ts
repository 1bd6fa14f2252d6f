// Distinguishes a dead peer from a silent one: sends a ping after an interval without a message, and reports the peer as dead
// after `count` unanswered pings in a row (virkeepaliveprotocol.x). It is independent of the socket.

import type { Clock } from "../../../effects/ports.js";
import type { Header } from "./frame.js";

export interface KeepaliveTimes {
  readonly intervalMs: number;
  readonly count: number;
}

export const keepaliveProgram = 0x6b65_6570;

export const pingProcedure = 1;
const pongProcedure = 2;

const header = (procedure: number): Header => ({
  program: keepaliveProgram,
  version: 1,
  procedure,
  type: "message",
  serial: 0,
  status: "ok",
});
export const ping = header(pingProcedure);
export const pong = header(pongProcedure);

export interface KeepaliveSide {
  /** False while reading is suspended: silence then proves nothing about the peer. */
  listens(): boolean;
  ask(): void;
  dead(): void;
}

export class Keepalive {
  readonly #clock: Clock;
  readonly #times: KeepaliveTimes;
  readonly #side: KeepaliveSide;
  #timer: unknown;
  #heard = true;
  #unanswered = 0;

  constructor(clock: Clock, times: KeepaliveTimes, side: KeepaliveSide) {
    this.#clock = clock;
    this.#times = times;
    this.#side = side;
    this.#wait();
  }

  /** Resets the count: any message proves that the peer is alive. */
  heard(): void {
    this.#heard = true;
  }

  stop(): void {
    this.#clock.clearTimeout(this.#timer);
  }

  #wait(): void {
    this.#timer = this.#clock.setTimeout(() => this.#tick(), this.#times.intervalMs);
  }

  #tick(): void {
    if (this.#heard || !this.#side.listens()) {
      this.#unanswered = 0;
    } else if (this.#unanswered === this.#times.count) {
      this.#side.dead();
      return;
    } else {
      this.#unanswered += 1;
      this.#side.ask();
    }
    this.#heard = false;
    this.#wait();
  }
}
