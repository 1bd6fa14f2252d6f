// Migration ids as fencing tokens: an orchestrator gives each migration an id with a monotonically growing number,
// and a host rejects an id older than the last that it has seen for that guest. Upholds G1 against two orchestrators:
// one that was replaced and does not know it can no longer move a guest.

/** Highest token that fits into an id; a double holds it without loss. */
export const highestToken = 2 ** 48 - 1;

/**
 * Builds a uuid of version 8 (RFC 9562, custom layout) whose first 48 bits are the token. `random`: 18 hexadecimal
 * digits.
 */
export function idWithToken(token: number, random: string): string {
  if (!Number.isSafeInteger(token) || token < 1 || token > highestToken)
    throw new RangeError(
      `${token} is not a valid token; it must be a whole number from 1 to ${highestToken}`,
    );
  if (!/^[\da-f]{18}$/.test(random)) throw new RangeError(`"${random}" is not 18 hexadecimal digits`);
  const head = token.toString(16).padStart(12, "0");
  return `${head.slice(0, 8)}-${head.slice(8)}-8${random.slice(0, 3)}-8${random.slice(3, 6)}-${random.slice(6)}`;
}

/** Returns null for an id without a token, such as one that a host generated. */
export function tokenIn(migrationId: string): number | null {
  const [, high = "", low = ""] =
    /^([\da-f]{8})-([\da-f]{4})-8[\da-f]{3}-8[\da-f]{3}-[\da-f]{12}$/.exec(migrationId) ?? [];
  const token = Number.parseInt(high + low, 16);
  return Number.isNaN(token) || token === 0 ? null : token;
}

/** Returns whether a host that has seen `highest` for this guest (null: none) may begin a migration with that id. */
export function admits(highest: number | null, migrationId: string): boolean {
  const token = tokenIn(migrationId);
  // An id without a token comes from an operator; the guest's single job keeps such migrations apart.
  return token === null || highest === null || token >= highest;
}
