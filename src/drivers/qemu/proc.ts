// What Linux says of a process: whether the one that was meant still lives, and which ones carry a word on their command
// line. A pid alone proves nothing, since it may have been given to another process since.

import { readdirSync, readFileSync } from "node:fs";

/** A process, told from a later one with the same pid by its start, in clock ticks since the machine's (proc(5), 22). */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: number;
}

/** Undefined when there is no such process, or only its remains that nobody has reaped. */
export function identify(pid: number): ProcessIdentity | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  // The second field, the name, is in brackets and may hold anything.
  const [state, ...fields] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return state === "Z" || state === "X" ? undefined : { pid, startTicks: Number(fields[18]) };
}

export const isAlive = ({ pid, startTicks }: ProcessIdentity): boolean =>
  identify(pid)?.startTicks === startTicks;

/** The processes that have a word on their command line that contains `text`. */
export function findByArgument(text: string): ProcessIdentity[] {
  return readdirSync("/proc")
    .filter((it) => /^\d+$/.test(it) && commandLine(it).some((word) => word.includes(text)))
    .flatMap((it) => identify(Number(it)) ?? []);
}

/** Ends those processes; one that has just ended by itself is no harm. */
export function killByArgument(text: string): void {
  for (const it of findByArgument(text)) if (isAlive(it)) process.kill(it.pid, "SIGKILL");
}

function commandLine(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}
