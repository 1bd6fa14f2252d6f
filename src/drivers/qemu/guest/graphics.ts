// Moves the clients of a guest's graphics to the destination: the source's QEMU tells them the new address, and is
// ended after they have left. QEMU supports that for SPICE only. Best effort: a migration does not fail because of
// it.

import type { Clock } from "../../../effects/ports.js";
import { messageOf } from "../../../protocol/effect-result.js";
import type { Dropped } from "../../../protocol/stream.js";
import type { Monitor, MonitorEvent } from "../monitor/commands.js";

export interface GraphicsOptions {
  /** QEMU's VNC server cannot redirect its clients: they must reconnect. */
  readonly protocol: "spice";
  /** Address of the destination's SPICE server, as the clients reach it. */
  readonly host: string;
  /** At least one of the two ports is required. */
  readonly port?: number;
  readonly tlsPort?: number;
  /** Subject of the destination's certificate, which clients then check instead of its host name. */
  readonly certSubject?: string;
}

/** @throws RangeError when no port is given or a value is not valid. */
export function checkGraphics({ protocol, port, tlsPort }: GraphicsOptions): void {
  if (protocol !== "spice")
    throw new RangeError(`graphics.protocol is "${protocol}"; QEMU can redirect only the clients of spice`);
  if (port === undefined && tlsPort === undefined)
    throw new RangeError("graphics has no port; give port, tlsPort or both");
  for (const [name, value] of Object.entries({ port, tlsPort }))
    if (value !== undefined && !(Number.isInteger(value) && value >= 1 && value <= 65_535))
      throw new RangeError(`graphics.${name} is ${value}; it must be a whole number from 1 to 65535`);
}

/** SPICE drops a client after 10 s; ending the source's QEMU may take 15 s in all. */
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

  /**
   * Called before the stream, when the destination's QEMU is running. Returns why the clients cannot be redirected,
   * if so.
   */
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

  /** Called before the source's QEMU is ended: only then does it redirect the clients. */
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
