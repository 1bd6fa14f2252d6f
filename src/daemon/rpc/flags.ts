// Checks the flags of a call: unknown flags are refused, never ignored.

import { libvirtError } from "./errors.js";

/** @throws LibvirtError with the bits that are not in `known`. */
export function checkFlags(flags: number, known: number): void {
  const unknown = (flags & ~known) >>> 0;
  if (unknown !== 0) throw libvirtError("INVALID_ARG", `unsupported flags (0x${unknown.toString(16)})`);
}

export const allOf = (flags: Readonly<Record<string, number>>): number =>
  Object.values(flags).reduce((sum, flag) => sum | flag, 0);
