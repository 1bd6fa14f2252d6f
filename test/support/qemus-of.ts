// Finds the QEMUs of a guest by their command lines, as an outsider would.

import { readdirSync, readFileSync } from "node:fs";

/** Pids of the QEMUs that carry this guest; with `incoming`, only those that wait for it. */
export function qemusOf(uuid: string, incoming = false): number[] {
  return readdirSync("/proc")
    .filter((text) => /^\d+$/.test(text))
    .filter((pid) => {
      const args = commandLine(pid);
      return args.includes(uuid) && (!incoming || args.includes("-incoming"));
    })
    .map(Number);
}

export function commandLine(pid: string): string[] {
  try {
    // A zombie has an empty command line: what is reaped is not left over.
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}
