// A guest is not migrated to the host that it is on: two URIs can lead to the same host, by whatever name.

import { parseXml } from "../../domain-xml/xml/parse.js";
import { childrenOf } from "../../domain-xml/xml/read.js";
import { errorCodes, errorDomains, LibvirtError } from "../rpc/libvirt-error.js";
import { remote } from "../rpc/procedures.js";
import type { Redial } from "./reconnecting-client.js";

/** @throws LibvirtError in libvirt's words when both are one host; what a call over a connection throws. */
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
