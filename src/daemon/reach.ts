// Decides by the configuration to which of the addresses that peers and clients name this host connects. Refused addresses
// are reported as libvirt errors.

import {
  type ConnectionUri,
  connectionUri,
  hostName,
  isLoopback,
  PeerTextError,
  type Reach,
} from "../protocol/peer-text.js";
import type { DaemonConfig } from "./config.js";
import { libvirtError } from "./rpc/errors.js";

/** A host whose migration address is on its loopback has all its peers on the same machine. */
export function reachOf({
  unixDirectories,
  migration,
  hostname,
}: Pick<DaemonConfig, "unixDirectories" | "migration" | "hostname">): Reach {
  return { unixDirectories, loopback: isLoopback(hostName(migration.host ?? hostname)) };
}

/** @throws LibvirtError in place of a PeerTextError. */
export function orRefuse<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw error instanceof PeerTextError
      ? libvirtError("INVALID_ARG", error.message, { cause: error })
      : error;
  }
}

/** Parses the destination URI that a client names. @throws LibvirtError when this host must not connect to it. */
export const destinationOfClient = (config: DaemonConfig, text: string): ConnectionUri =>
  orRefuse(() => connectionUri(text, { ...reachOf(config), certificates: true }));
