// What a host has to do with a guest, where nothing but libvirt's own procedures can be asked.

import type { Decision } from "../../protocol/messages.js";
import type { RpcConnection } from "../libvirt-rpc/client.js";
import { domainStates, jobTypes } from "../libvirt-rpc/constants.js";
import type { Domain } from "../libvirt-rpc/libvirt-types.js";
import { remote } from "../libvirt-rpc/procedures.js";

const { procedures } = remote;

/**
 * What a host has decided about a guest that came to it, by what it does with it, which is all that a libvirtd tells: taken
 * when it is there and nothing is done with it any more; null while a migration is.
 */
export async function decisionAt(
  rpc: RpcConnection,
  uuid: string,
  signal: AbortSignal,
): Promise<Decision | null> {
  const dom = await activeAt(rpc, uuid, signal);
  if (dom === undefined) return "refused";
  const { state } = await rpc.call(procedures.domainGetState, { dom, flags: 0 }, { signal });
  if (state === domainStates.running) return "taken";
  return (await isIdle(rpc, dom, signal)) ? "taken" : null;
}

/** libvirt's reason of a guest that is paused for good: its destination has lost it in post-copy. */
const pausedPostcopyFailed = 13;

/** What has become of a guest that was to leave a host, and is idle there or gone; null while it is being migrated. */
export async function whereaboutsAt(
  rpc: RpcConnection,
  uuid: string,
  signal: AbortSignal,
): Promise<"stayed" | "left" | "lost" | null> {
  const dom = await activeAt(rpc, uuid, signal);
  if (dom === undefined) return "left";
  if (!(await isIdle(rpc, dom, signal))) return null;
  const { state, reason } = await rpc.call(procedures.domainGetState, { dom, flags: 0 }, { signal });
  return state === domainStates.paused && reason === pausedPostcopyFailed ? "lost" : "stayed";
}

async function activeAt(rpc: RpcConnection, uuid: string, signal: AbortSignal): Promise<Domain | undefined> {
  const active = { needResults: 1, flags: 1 };
  const { domains } = await rpc.call(procedures.connectListAllDomains, active, { signal });
  return domains.find((it) => it.uuid === uuid);
}

async function isIdle(rpc: RpcConnection, dom: Domain, signal: AbortSignal): Promise<boolean> {
  return (await rpc.call(procedures.domainGetJobInfo, { dom }, { signal })).type === jobTypes.none;
}
