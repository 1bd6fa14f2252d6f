// What of the addresses that peers and clients give this host connects to, by its configuration; and what it refuses, as
// libvirt's error.

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

/** A host that tells others an address of its loopback has its peers on the same machine. */
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

/** Where a client has this host go, to another. @throws LibvirtError when this host must not dial it. */
export const destinationOfClient = (config: DaemonConfig, text: string): ConnectionUri =>
  orRefuse(() => connectionUri(text, { ...reachOf(config), certificates: true }));
