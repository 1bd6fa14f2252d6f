// Rejects a migration to the guest's own host: two URIs can lead to the same host under different names.

import { parseXml } from "../../domain-xml/xml/parse.js";
import { childrenOf } from "../../domain-xml/xml/read.js";
import { errorCodes, errorDomains, LibvirtError } from "../rpc/libvirt-error.js";
import { remote } from "../rpc/procedures.js";
import type { Redial } from "./reconnecting-client.js";

/** @throws LibvirtError with libvirt's message when both are one host, and the errors of an RPC call. */
export async function checkOtherHost(source: Redial, destination: Redial): Promise<void> {
  const [here, there] = await Promise.all([hostUuidAt(source), hostUuidAt(destination)]);
  if (here !== undefined && here === there) throw sameHost(here);
}

export async function hostUuidAt(host: Redial, signal?: AbortSignal): Promise<string | undefined> {
  const { capabilities } = await host.call(remote.procedures.connectGetCapabilities, undefined, { signal });
  const [found] = childrenOf(parseXml(capabilities)).filter(({ localName }) => localName === "host");
  const uuid = found && childrenOf(found).find(({ localName }) => localName === "uuid");
  return uuid?.textContent?.trim().toLowerCase();
}

export const sameHost = (uuid: string): LibvirtError =>
  new LibvirtError({
    code: errorCodes.INTERNAL_ERROR,
    domain: errorDomains.QEMU,
    message: `internal error: Attempt to migrate guest to the same host ${uuid}`,
  });
