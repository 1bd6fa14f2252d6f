// Why a migration cookie cannot be used.

export type CookieErrorCode =
  | "not-terminated"
  | "malformed"
  /** About another guest. */
  | "wrong-name"
  | "wrong-uuid"
  /** A guest does not migrate to where it is. */
  | "same-host"
  /** Something that the receiver must understand, and does not. */
  | "feature";

/** Nothing of the cookie may be used. */
export class CookieError extends Error {
  override readonly name = "CookieError";
  constructor(
    readonly code: CookieErrorCode,
    what: string,
    options?: ErrorOptions,
  ) {
    super(`the migration cookie cannot be used: ${what}`, options);
  }
}
