// What every procedure does with the domain that a client names, and with the client.

import type { Domain as WireDomain } from "../drivers/libvirt-rpc/libvirt-types.js";
import type { RpcClient } from "../drivers/libvirt-rpc/service.js";
import { no } from "./errors.js";
import type { ManagedDomain } from "./managed-domain.js";

export const wire = ({ name, uuid, live, arriving }: ManagedDomain): WireDomain => ({
  name,
  uuid,
  id: (live ?? arriving)?.id ?? -1,
});

/** @throws LibvirtError OPERATION_DENIED for a client that may only read. */
export function writing(client: RpcClient): void {
  if (client.readOnly) throw no("OPERATION_DENIED", "read only access prevents this");
}
