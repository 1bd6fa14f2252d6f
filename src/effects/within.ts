// Limits a wait by time, through the clock port.

import type { Clock } from "./ports.js";

/**
 * Runs `wait` with a signal that is aborted when `signal` is, or after `ms` milliseconds. AbortSignal.any is not
 * usable: it holds an AbortSignal.timeout weakly, and after a garbage collection neither of them is ever aborted
 * (seen with Node 20.20), so that the wait never ends (G5).
 */
export async function within<T>(
  clock: Pick<Clock, "setTimeout" | "clearTimeout">,
  ms: number,
  signal: AbortSignal,
  wait: (limited: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = new AbortController();
  const abort = () => limit.abort();
  const timer = clock.setTimeout(abort, ms);
  signal.addEventListener("abort", abort);
  if (signal.aborted) abort();
  try {
    return await wait(limit.signal);
  } finally {
    clock.clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }
}

/** Returns whether the promise resolves within `ms` milliseconds; leaves no timer behind. @throws what the promise rejects with. */
export async function resolvesWithin(
  clock: Pick<Clock, "setTimeout" | "clearTimeout">,
  ms: number,
  promise: Promise<unknown>,
): Promise<boolean> {
  let timer: unknown;
  const late = new Promise<false>((resolve) => {
    timer = clock.setTimeout(() => resolve(false), ms);
  });
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clock.clearTimeout(timer);
  }
}

/** Runs `wait` with a signal that is aborted after `ms` milliseconds, for a wait without any other end. */
export const withLimit = <T>(
  clock: Pick<Clock, "setTimeout" | "clearTimeout">,
  ms: number,
  wait: (limited: AbortSignal) => Promise<T>,
): Promise<T> => within(clock, ms, new AbortController().signal, wait);
