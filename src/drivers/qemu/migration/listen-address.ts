// Chooses where a QEMU receives streams from another host: at the first of a range of ports that QEMU itself can
// bind. A port is never probed, since any connection to it becomes the stream.

import type { HostName } from "../../../protocol/peer-text.js";
import { QmpCommandError } from "../monitor/errors.js";

export interface ListenAt {
  /** The address that QEMU binds. */
  readonly bind: HostName;
  /** The address that the source receives. */
  readonly host: HostName;
  readonly ports: readonly number[];
}

/** Calls `listen` with one port after the other, until QEMU accepts one. @throws QEMU's error for the last port. */
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
  throw new Error("no port to listen at is configured");
}
