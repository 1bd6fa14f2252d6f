// What QEMU's words for the state of its migration mean to a source.

import type { Ended, SourceFound } from "../../protocol/messages.js";

const endings: Readonly<Record<string, Ended>> = {
  none: "none",
  cancelled: "cancelled",
  failed: "failed",
  completed: "completed",
};

export const hasEnded = (status: string): boolean => endings[status] !== undefined;

/** What QEMU 7.2 neither ends nor lets be ended. */
export const brokenInPostcopy: readonly string[] = ["postcopy-paused", "postcopy-recover"];

/** Undefined while it goes on. */
export const endedAs = (status: string): Ended | undefined =>
  brokenInPostcopy.includes(status) ? "broken" : endings[status];

export const stillUnderWay: Readonly<Record<string, SourceFound>> = {
  "pre-switchover": "preSwitchover",
  device: "stopped",
  cancelling: "cancelling",
};
