// What a host shows of a guest by libvirt's own procedures. What follows from it for a migration is decided in
// protocol/evidence.ts.

import type { Seen } from "../../../protocol/evidence.js";
import type { RpcConnection } from "../rpc/client.js";
import { domainStates, jobTypes } from "../rpc/constants.js";
import { LibvirtError } from "../rpc/libvirt-error.js";
import type { Domain } from "../rpc/libvirt-types.js";
import { remote } from "../rpc/procedures.js";

const { procedures } = remote;

/** libvirt's reasons of a guest that has lost its memory in post-copy (virDomainRunningReason, virDomainPausedReason). */
const postcopyFailed: Readonly<Record<number, number>> = {
  [domainStates.running]: 11,
  [domainStates.paused]: 13,
};

/** What a host shows of that uuid. @throws LibvirtError, and what a call over a connection throws. */
export async function seenAt(rpc: RpcConnection, uuid: string, signal: AbortSignal): Promise<Seen> {
  const dom = await activeAt(rpc, uuid, signal);
  if (dom === undefined) return { at: "absent" };
  const { id } = dom;
  const { state, reason } = await rpc.call(procedures.domainGetState, { dom, flags: 0 }, { signal });
  if (postcopyFailed[state] === reason) return { at: "active", id, is: "postcopyFailed" };
  if (state === domainStates.running) return { at: "active", id, is: "running" };
  return { at: "active", id, is: (await isIdle(rpc, dom, signal)) ? "idle" : "busy" };
}

/** What has become of a guest that was to leave a host, and is idle there or gone; null while it is being migrated. */
export async function locateDomain(
  rpc: RpcConnection,
  uuid: string,
  signal: AbortSignal,
): Promise<"stayed" | "left" | "lost" | null> {
  const dom = await activeAt(rpc, uuid, signal);
  if (dom === undefined) return "left";
  if (!(await isIdle(rpc, dom, signal))) return null;
  const { state, reason } = await rpc.call(procedures.domainGetState, { dom, flags: 0 }, { signal });
  const isBroken = state === domainStates.paused && postcopyFailed[state] === reason;
  return isBroken ? "lost" : "stayed";
}

export async function activeAt(
  rpc: RpcConnection,
  uuid: string,
  signal: AbortSignal,
): Promise<Domain | undefined> {
  const active = { needResults: 1, flags: 1 };
  const { domains } = await rpc.call(procedures.connectListAllDomains, active, { signal });
  return domains.find((domain) => domain.uuid === uuid);
}

async function isIdle(rpc: RpcConnection, dom: Domain, signal: AbortSignal): Promise<boolean> {
  try {
    return (await rpc.call(procedures.domainGetJobInfo, { dom }, { signal })).type === jobTypes.none;
  } catch (error) {
    // A libvirtd gives no figures of an incoming migration.
    if (error instanceof LibvirtError) return false;
    throw error;
  }
}
