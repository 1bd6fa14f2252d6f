// Converts a domain to libvirt's wire format.

import type { Domain as WireDomain } from "../../drivers/libvirt/rpc/libvirt-types.js";
import type { ManagedDomain } from "../domains/managed-domain.js";

export const toWireDomain = ({ name, uuid, live, arriving }: ManagedDomain): WireDomain => ({
  name,
  uuid,
  id: (live ?? arriving)?.id ?? -1,
});
