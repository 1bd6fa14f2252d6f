// Errors of migration cookies.

export type CookieErrorCode =
  | "not-terminated"
  | "malformed"
  /** The cookie belongs to another guest. */
  | "wrong-name"
  | "wrong-uuid"
  /** The cookie comes from the receiver's own host. */
  | "same-host"
  /** The receiver does not support a required feature. */
  | "feature";

/** The cookie cannot be used; no part of it may be. */
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
