// The answer of an effect or a peer: done, failed, or unknown (sent, but no answer came). Plain data, so that it can
// be journalled and sent. Only bugs throw.

import type { Failure } from "./failure.js";

/**
 * Why something failed: our sentence, and QEMU's own words (monitor error, last lines of stderr) where there are any.
 */
export interface Cause {
  readonly message: string;
  readonly qemu?: readonly string[];
  /** The peer's own failures, when the cause lies on its side. */
  readonly failures?: readonly Failure[];
}

/**
 * `done`: it happened. `failed`: it certainly did not happen. `unknown`: the request was sent and no answer came, so
 * it may have happened; the reader must ask again or be idempotent.
 */
export type Answer<T> =
  | { readonly kind: "done"; readonly value: T }
  | { readonly kind: "failed"; readonly cause: Cause }
  | { readonly kind: "unknown"; readonly cause: Cause };

export const done = <T>(value: T): Answer<T> => ({ kind: "done", value });

/** A `done` answer without a value. */
export const nothing: Answer<null> = { kind: "done", value: null };

export const failed = (message: string, qemu?: readonly string[]): Answer<never> => ({
  kind: "failed",
  cause: cause(message, qemu),
});

export const unknown = (message: string, qemu?: readonly string[]): Answer<never> => ({
  kind: "unknown",
  cause: cause(message, qemu),
});

export const cause = (message: string, qemu?: readonly string[]): Cause =>
  qemu === undefined || qemu.length === 0 ? { message } : { message, qemu };

/** Returns the message of any thrown value. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Builds a rejection from the peer with its own failures; the message is that of the first one. */
export const failedThere = (failures: readonly Failure[], otherwise: string): Answer<never> => ({
  kind: "failed",
  cause: { message: failures[0]?.message ?? otherwise, failures },
});
