// Where a QEMU takes streams from another host: at the first of some ports that QEMU itself can bind. A port is never
// probed, since whatever connects to it becomes the stream.

import type { HostName } from "../../../protocol/peer-text.js";
import { QmpCommandError } from "../monitor/errors.js";

export interface ListenAt {
  /** The address that QEMU binds. */
  readonly bind: HostName;
  /** What the source is told. */
  readonly host: HostName;
  readonly ports: readonly number[];
}

/** `listen` is tried with one port after the other, until QEMU does not refuse it. @throws QEMU's word on the last. */
export async function atFirstFree(
  { ports }: ListenAt,
  listen: (port: number) => Promise<unknown>,
): Promise<number> {
  for (const [tried, port] of ports.entries()) {
    try {
      await listen(port);
      return port;
    } catch (error) {
      if (tried === ports.length - 1 || !(error instanceof QmpCommandError)) throw error;
    }
  }
  throw new Error("there is no port to listen at");
}
