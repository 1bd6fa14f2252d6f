// The migration's id in a cookie, which only a switchoverd writes: it says which hosts can be asked by id.

import { readCookie } from "../cookie/cookie.js";
import { CookieError } from "../cookie/errors.js";
import type { Domain } from "../rpc/libvirt-types.js";

/** `dom`: under its name at the source. Undefined for a libvirtd's cookie, and for one that cannot be read. */
export function migrationNamedIn(
  cookie: Uint8Array | undefined,
  { name, uuid }: Pick<Domain, "name" | "uuid">,
): string | undefined {
  if (cookie === undefined) return undefined;
  try {
    return readCookie(cookie, { name, uuid, hostUuid: "", reads: [] })?.cookie.switchover?.migration;
  } catch (error) {
    // The host that has to understand it reports that.
    if (!(error instanceof CookieError)) throw error;
    return undefined;
  }
}
