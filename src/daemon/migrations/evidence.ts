// Proves that a message belongs to one migration: by a secret that the source's Begin cookie shares between the two hosts
// only, and by the destination's receipt under it. Upholds G1 and G3: a source ends its copy only on proof.

import { createHmac, timingSafeEqual } from "node:crypto";
import type { Ids } from "../../effects/ports.js";

/** Returns a secret of two version 4 uuids: 244 random bits. */
export const newSecret = (ids: Ids): string => `${ids.next()}.${ids.next()}`;

/** Returns the proof that the destination has taken the guest: HMAC-SHA-256 of the migration id under the shared secret. */
export const receiptOf = (secret: string, migrationId: string): string =>
  createHmac("sha256", secret).update(`${migrationId} taken`).digest("base64url");

export const isSame = (one: string, other: string): boolean => {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  return a.length === b.length && timingSafeEqual(a, b);
};
