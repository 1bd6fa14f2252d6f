// A rate-limited log that a peer cannot flood: the first line of each kind is written at once, and then at most one per
// interval, with the number of suppressed lines.

import type { Clock } from "../../../effects/ports.js";

const intervalMs = 10_000;

export type SparingLog = (kind: string, sentence: string) => void;

export function sparingLog(clock: Pick<Clock, "now">, log: (sentence: string) => void): SparingLog {
  const kinds = new Map<string, { writtenMs: number; leftOut: number }>();
  return (kind, sentence) => {
    const nowMs = clock.now();
    const before = kinds.get(kind);
    if (before !== undefined && nowMs - before.writtenMs < intervalMs) {
      before.leftOut += 1;
      return;
    }
    const leftOut = before?.leftOut ?? 0;
    kinds.set(kind, { writtenMs: nowMs, leftOut: 0 });
    log(leftOut === 0 ? sentence : `${sentence} (${leftOut} similar lines were suppressed)`);
  };
}
