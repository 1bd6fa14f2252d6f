// Reads the migration id from a cookie. Only a switchoverd writes it, so that it tells which hosts can be queried by id.

import { readCookie } from "../cookie/cookie.js";
import { CookieError } from "../cookie/errors.js";
import type { Domain } from "../rpc/libvirt-types.js";

/** The guest is given by its name at the source. Returns undefined for a libvirtd's cookie, and for an unreadable one. */
export function migrationNamedIn(
  cookie: Uint8Array | undefined,
  { name, uuid }: Pick<Domain, "name" | "uuid">,
): string | undefined {
  if (cookie === undefined) return undefined;
  try {
    return readCookie(cookie, { name, uuid, hostUuid: "", reads: [] })?.cookie.switchover?.migration;
  } catch (error) {
    // The host that has to understand the cookie reports the error.
    if (!(error instanceof CookieError)) throw error;
    return undefined;
  }
}
