// Determines the one address at which an incoming stream is accepted: the address that the source connects to, not every
// address of this machine, because QEMU takes the first connection as the stream (docs/decisions/0024).

import type { LookupAddress } from "node:dns";
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { ListenAt } from "../drivers/qemu/migration/listen-address.js";
import { messageOf } from "../protocol/effect-result.js";
import { hostName } from "../protocol/peer-text.js";
import { libvirtError } from "./rpc/errors.js";

type Resolve = (name: string) => Promise<readonly LookupAddress[]>;

const bySystem: Resolve = (name) => lookup(name, { all: true, verbatim: true });
const isLoopback = (address: string): boolean => /^127\./.test(address) || address === "::1";
const next =
  "set migration.listen to an address of this host, or migration.host to a name that resolves to one";

/**
 * Resolves a name to its address; an address is returned unchanged. A name that resolves to the loopback on this host, as
 * in Debian's /etc/hosts, resolves to another host at the source, so it is refused before anything starts.
 * @throws LibvirtError CONFIG_UNSUPPORTED
 */
export async function atOneAddress(place: ListenAt, resolve: Resolve = bySystem): Promise<ListenAt> {
  if (isIP(place.bind) !== 0) return place;
  const { bind } = place;
  const found = await resolve(bind).catch((error: unknown) => {
    throw libvirtError(
      "CONFIG_UNSUPPORTED",
      `the migration address ${JSON.stringify(bind)} does not resolve: ${messageOf(error)}; ${next}`,
    );
  });
  const addresses = found.map(({ address }) => address);
  const address = /^localhost(\.|$)/.test(bind)
    ? addresses[0]
    : addresses.find((candidate) => !isLoopback(candidate));
  if (address === undefined)
    throw libvirtError(
      "CONFIG_UNSUPPORTED",
      `the migration address ${JSON.stringify(bind)} resolves to ${addresses.join(", ")} on this host, which other hosts cannot reach; ${next}`,
    );
  return { ...place, bind: hostName(address) };
}
