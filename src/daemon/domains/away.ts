// Asks the host that has a guest to give it up, so that this host may start it, and informs another host that this host has
// given a guest up. Upholds G1: the other host records that the guest is away before this host starts anything.

import { openConnection } from "../../drivers/libvirt/rpc/open.js";
import { own } from "../../drivers/libvirt/rpc/switchover-program.js";
import type { Clock } from "../../effects/ports.js";
import { withLimit } from "../../effects/within.js";
import { messageOf } from "../../protocol/effect-result.js";
import { connectionUri } from "../../protocol/peer-text.js";
import type { DaemonConfig } from "../config.js";
import { withOwnCertificates } from "../own-pki.js";
import { reachOf } from "../reach.js";
import type { Away } from "./records.js";

const askLimitMs = 5_000;

/** Rejects with a clause that gives the reason why the guest is not given back. */
export async function askBack(
  config: DaemonConfig,
  clock: Clock,
  uuid: string,
  { uri, migrationId, hostname }: Away,
): Promise<void> {
  const name = hostname || "that host";
  if (uri === null) throw new Error(`${name} cannot be contacted`);
  await withLimit(clock, askLimitMs, async (signal) => {
    const connection = await connected(config, clock, uri, signal).catch((error: unknown) => {
      throw new Error(`${name} does not answer: ${messageOf(error)}`, { cause: error });
    });
    try {
      const asker = { hostname: config.hostname, uri: config.uri };
      await connection.rpc.call(
        own.procedures.concedeAway,
        { migrationId, uuid, ...asker },
        { deadlineMs: askLimitMs, signal },
      );
    } catch (error) {
      throw new Error(`${name} refuses to give it back: ${messageOf(error)}`, { cause: error });
    } finally {
      void connection.close();
    }
  });
}

/** Rejects when the host does not answer; that host then asks for the guest itself before it starts it. */
export async function tellConceded(
  config: DaemonConfig,
  clock: Clock,
  uri: string,
  conceded: { readonly migrationId: string; readonly uuid: string; readonly secret: string },
): Promise<void> {
  await withLimit(clock, askLimitMs, async (signal) => {
    const connection = await connected(config, clock, uri, signal);
    try {
      await connection.rpc.call(own.procedures.conceded, conceded, { deadlineMs: askLimitMs, signal });
    } finally {
      void connection.close();
    }
  });
}

/** Opens a connection to a peer. The stored URI came from the peer's cookie, so it is validated like a new one. */
function connected(config: DaemonConfig, clock: Clock, uri: string, signal: AbortSignal) {
  const at = connectionUri(uri, { ...reachOf(config), certificates: false });
  return openConnection(withOwnCertificates(config, at), { clock, deadlineMs: askLimitMs, signal });
}
