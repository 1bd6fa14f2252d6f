// What a host has decided about a guest that came to it, where nothing but libvirt's own procedures can be asked.

import type { Decision } from "../../protocol/messages.js";
import type { RpcConnection } from "../libvirt-rpc/client.js";
import { domainStates, jobTypes } from "../libvirt-rpc/constants.js";
import { remote } from "../libvirt-rpc/procedures.js";

const { procedures } = remote;

/**
 * What a host has decided about a guest, by what it does with it, which is all that a libvirtd tells: taken when it is
 * there and nothing is done with it any more; null while a migration is.
 */
export async function decisionAt(
  rpc: RpcConnection,
  uuid: string,
  signal: AbortSignal,
): Promise<Decision | null> {
  const { domains } = await rpc.call(
    procedures.connectListAllDomains,
    { needResults: 1, flags: 1 },
    { signal },
  );
  const dom = domains.find((it) => it.uuid === uuid);
  if (dom === undefined) return "refused";
  const { state } = await rpc.call(procedures.domainGetState, { dom, flags: 0 }, { signal });
  if (state === domainStates.running) return "taken";
  const { type } = await rpc.call(procedures.domainGetJobInfo, { dom }, { signal });
  return type === jobTypes.none ? "taken" : null;
}
