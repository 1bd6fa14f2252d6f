// Migration ids as fencing tokens: whoever moves guests for a fleet gives each migration an id that carries a number which
// only grows, and a host refuses one that is older than the last that it has seen of that guest. Upholds G1 against two
// orchestrators: the one that was replaced, and does not know it, moves nothing any more.

/** As much as fits into an id, and into a double without loss. */
export const highestToken = 2 ** 48 - 1;

/** A uuid of version 8 (RFC 9562: its owner's own layout): 48 bits of the token first. `random`: 18 hexadecimal digits. */
export function idWithToken(token: number, random: string): string {
  if (!Number.isSafeInteger(token) || token < 1 || token > highestToken)
    throw new RangeError(`${token} is no token; it must be a whole number from 1 to ${highestToken}`);
  if (!/^[\da-f]{18}$/.test(random)) throw new RangeError(`"${random}" is not 18 hexadecimal digits`);
  const head = token.toString(16).padStart(12, "0");
  return `${head.slice(0, 8)}-${head.slice(8)}-8${random.slice(0, 3)}-8${random.slice(3, 6)}-${random.slice(6)}`;
}

/** Null of an id that carries none, such as one that a host has made itself. */
export function tokenIn(migrationId: string): number | null {
  const [, high = "", low = ""] =
    /^([\da-f]{8})-([\da-f]{4})-8[\da-f]{3}-8[\da-f]{3}-[\da-f]{12}$/.exec(migrationId) ?? [];
  const token = Number.parseInt(high + low, 16);
  return Number.isNaN(token) || token === 0 ? null : token;
}

/** Whether a host that has seen `highest` of this guest, or none, lets a migration with that id begin. */
export function admits(highest: number | null, migrationId: string): boolean {
  const token = tokenIn(migrationId);
  // Without a token it is a person's: those are kept apart by the guest's one job.
  return token === null || highest === null || token >= highest;
}
