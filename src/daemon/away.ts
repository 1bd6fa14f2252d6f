// Asks the host that a guest left for to give it back, so that this one may start it. Upholds G1: the other host has
// recorded that the guest is away from it before this one starts anything.

import { openConnection } from "../drivers/libvirt-rpc/open.js";
import { own } from "../drivers/libvirt-rpc/own-procedures.js";
import type { Clock } from "../effects/ports.js";
import { messageOf } from "../protocol/answer.js";
import { connectionUri } from "../protocol/peer-text.js";
import type { DaemonConfig } from "./config.js";
import type { Away } from "./domain-records.js";
import { withOwnPki } from "./own-pki.js";
import { reachOf } from "./reach.js";

const askLimitMs = 5_000;

/** Rejects with a clause that says why the guest is not given back. */
export async function askBack(
  config: DaemonConfig,
  clock: Clock,
  uuid: string,
  { uri, migrationId, hostname }: Away,
): Promise<void> {
  const name = hostname || "that host";
  if (uri === null) throw new Error(`${name} cannot be asked for it`);
  const signal = AbortSignal.timeout(askLimitMs);
  // What a peer has told, in a cookie that was kept: it is read as if it had just come.
  const at = connectionUri(uri, { ...reachOf(config), certificates: false });
  const connection = await openConnection(withOwnPki(config, at), {
    ...{ clock, deadlineMs: askLimitMs, signal },
  }).catch((error: unknown) => {
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
    throw new Error(`${name} does not give it back: ${messageOf(error)}`, { cause: error });
  } finally {
    void connection.close();
  }
}
