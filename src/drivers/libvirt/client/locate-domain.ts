// Observes a guest on a host through libvirt's own procedures. protocol/evidence.ts draws the conclusions for a migration.

import type { Seen } from "../../../protocol/evidence.js";
import type { RpcConnection } from "../rpc/client.js";
import { domainStates, jobTypes } from "../rpc/constants.js";
import { LibvirtError } from "../rpc/libvirt-error.js";
import type { Domain } from "../rpc/libvirt-types.js";
import { remote } from "../rpc/procedures.js";

const { procedures } = remote;

/** libvirt's state reasons for a failed post-copy (virDomainRunningReason, virDomainPausedReason). */
const postcopyFailed: Readonly<Record<number, number>> = {
  [domainStates.running]: 11,
  [domainStates.paused]: 13,
};

/** Returns what the host reports about that uuid. @throws LibvirtError, and the errors of an RPC call. */
export async function seenAt(rpc: RpcConnection, uuid: string, signal: AbortSignal): Promise<Seen> {
  const dom = await activeAt(rpc, uuid, signal);
  if (dom === undefined) return { at: "absent" };
  const { id } = dom;
  const { state, reason } = await rpc.call(procedures.domainGetState, { dom, flags: 0 }, { signal });
  if (postcopyFailed[state] === reason) return { at: "active", id, is: "postcopyFailed" };
  if (state === domainStates.running) return { at: "active", id, is: "running" };
  return { at: "active", id, is: (await isIdle(rpc, dom, signal)) ? "idle" : "busy" };
}

/** Returns the outcome at the source once the guest is idle there or gone; null while the migration job still runs. */
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
    // A libvirtd reports no statistics of an incoming migration.
    if (error instanceof LibvirtError) return false;
    throw error;
  }
}
