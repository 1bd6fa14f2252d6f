// The clients of a guest's graphics, which are to follow it: its QEMU tells them where it goes, and is let go of when they
// have gone. QEMU does that for SPICE alone. Best effort: a migration does not fail for it.

import type { Clock } from "../../../effects/ports.js";
import { messageOf } from "../../../protocol/effect-result.js";
import type { Dropped } from "../../../protocol/stream.js";
import type { Monitor, MonitorEvent } from "../monitor/commands.js";

export interface GraphicsOptions {
  /** QEMU's VNC has no word for its clients: they have to connect anew. */
  readonly protocol: "spice";
  /** Where the destination's SPICE server is, as the clients reach it. */
  readonly host: string;
  /** One of the two ports at least. */
  readonly port?: number;
  readonly tlsPort?: number;
  /** Of the destination's certificate, which clients then compare instead of its host. */
  readonly certSubject?: string;
}

/** @throws RangeError when it names no port. */
export function checkGraphics({ protocol, port, tlsPort }: GraphicsOptions): void {
  if (protocol !== "spice")
    throw new RangeError(`graphics.protocol is "${protocol}"; QEMU moves the clients of spice alone`);
  if (port === undefined && tlsPort === undefined)
    throw new RangeError("graphics names no port; name port, tlsPort or both");
  for (const [name, value] of Object.entries({ port, tlsPort }))
    if (value !== undefined && !(Number.isInteger(value) && value >= 1 && value <= 65_535))
      throw new RangeError(`graphics.${name} is ${value}; it must be a whole number from 1 to 65535`);
}

/** SPICE gives a client up after 10 s; the source's end has 15 s in all. */
const clientsLimitMs = 8_000;

export class Graphics {
  readonly #wish: GraphicsOptions | undefined;
  readonly #clock: Clock;
  #told = false;
  #hasMoved = false;
  #isOver = false;
  #changed = () => {};

  constructor(wish: GraphicsOptions | undefined, clock: Clock) {
    this.#wish = wish;
    this.#clock = clock;
  }

  /** Before the stream, with the destination's QEMU there. Why the clients cannot be told, if so. */
  async tell(monitor: Monitor): Promise<Dropped | undefined> {
    if (this.#wish === undefined) return undefined;
    const { protocol, host: hostname, port, tlsPort, certSubject } = this.#wish;
    try {
      await monitor.execute("client_migrate_info", {
        protocol,
        hostname,
        port,
        "tls-port": tlsPort,
        "cert-subject": certSubject,
      });
      this.#told = true;
      return undefined;
    } catch (error) {
      return { option: "graphics", why: messageOf(error) };
    }
  }

  hear(event: MonitorEvent): void {
    if (event.name === "MIGRATION" && event.data.status === "completed") this.#hasMoved = true;
    if (event.name !== "SPICE_MIGRATE_COMPLETED") return;
    this.#isOver = true;
    this.#changed();
  }

  /** Before the QEMU that the guest has left is ended: its clients are told only then, by it. */
  async awaitClients(): Promise<void> {
    if (!this.#told || !this.#hasMoved || this.#isOver) return;
    await new Promise<void>((resolve) => {
      const timer = this.#clock.setTimeout(resolve, clientsLimitMs);
      this.#changed = () => {
        this.#clock.clearTimeout(timer);
        resolve();
      };
    });
  }
}
