// Finds the QEMUs of a guest by their command lines, as an outside observer would.

import { readdirSync, readFileSync } from "node:fs";

/** Returns the pids of this guest's QEMUs; with `incoming`, only of those that wait for it. */
export function qemusOf(uuid: string, incoming = false): number[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .filter((pid) => {
      const args = commandLine(pid);
      return args.includes(uuid) && (!incoming || args.includes("-incoming"));
    })
    .map(Number);
}

export function commandLine(pid: string): string[] {
  try {
    // A zombie has an empty command line and does not count as left behind.
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}
