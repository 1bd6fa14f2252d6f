// Tells a dead peer from a silent one: after an interval without any message a ping, and after `count` pings in a row
// without any message the peer is dead (virkeepaliveprotocol.x). It knows no socket.

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
  /** False while we do not read: then silence says nothing about the peer. */
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

  /** Any message is a sign of life. */
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
