// What an effect or a peer answers: done, failed, or unknown (sent, no answer). Plain data, so that it can
// be journalled and sent. Only bugs throw.

import type { Failure } from "./failure.js";

/** Why something failed: our sentence, and QEMU's own words (monitor error, last lines of stderr) when it said any. */
export interface Cause {
  readonly message: string;
  readonly qemu?: readonly string[];
  /** What a peer has to say about its own side, when the cause lies there. */
  readonly failures?: readonly Failure[];
}

/**
 * `done`: it happened. `failed`: it is certain that it did not happen.
 * `unknown`: it was sent and no answer came, so it may have happened; whoever reads this must ask again or be idempotent.
 */
export type Answer<T> =
  | { readonly kind: "done"; readonly value: T }
  | { readonly kind: "failed"; readonly cause: Cause }
  | { readonly kind: "unknown"; readonly cause: Cause };

export const done = <T>(value: T): Answer<T> => ({ kind: "done", value });

/** A done answer that carries nothing but the fact. */
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

/** The sentence of whatever was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** A peer's no, with what went wrong on its side; the first failure is the sentence. */
export const failedThere = (failures: readonly Failure[], otherwise: string): Answer<never> => ({
  kind: "failed",
  cause: { message: failures[0]?.message ?? otherwise, failures },
});
