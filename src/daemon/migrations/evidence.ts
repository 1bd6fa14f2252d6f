// What proves to this host that a message belongs to one migration: a secret that the source's Begin cookie gave to this
// pair of hosts alone, and the destination's receipt under it. Upholds G1 and G3: a source ends its copy on proof only.

import { createHmac, timingSafeEqual } from "node:crypto";
import type { Ids } from "../../effects/ports.js";

/** A secret is as long as two version 4 uuids: 244 random bits. */
export const newSecret = (ids: Ids): string => `${ids.next()}.${ids.next()}`;

/** Proves that the destination has taken the guest: HMAC-SHA-256 of the migration's id under the secret of the pair. */
export const receiptOf = (secret: string, migrationId: string): string =>
  createHmac("sha256", secret).update(`${migrationId} taken`).digest("base64url");

export const isSame = (one: string, other: string): boolean => {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  return a.length === b.length && timingSafeEqual(a, b);
};
