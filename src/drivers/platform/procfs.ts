// Reads process information from Linux's procfs: whether a given process is still alive, what it has used, and which processes
// have an argument on their command line. A pid alone does not identify a process, since pids are reused.

import { readdirSync, readFileSync } from "node:fs";

/** A process, identified by its pid and its start time in clock ticks since boot (proc(5), field 22). */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: number;
}

/** Returns undefined when the process does not exist, or is a zombie. */
export function identify(pid: number): ProcessIdentity | undefined {
  const fields = statOf(`${pid}`);
  const state = fields?.[0];
  if (fields === undefined || state === "Z" || state === "X") return undefined;
  return { pid, startTicks: Number(fields[19]) };
}

export const isAlive = ({ pid, startTicks }: ProcessIdentity): boolean =>
  identify(pid)?.startTicks === startTicks;

/** Returns the CPU time of a process, or of one of its threads, in user and kernel mode; undefined when it has ended. */
export function cpuTimes(pid: number, thread?: number): { userNs: bigint; systemNs: bigint } | undefined {
  const fields = statOf(thread === undefined ? `${pid}` : `${pid}/task/${thread}`);
  const ns = (ticks: string | undefined) => BigInt(ticks ?? 0) * 10_000_000n;
  return fields && { userNs: ns(fields[11]), systemNs: ns(fields[12]) };
}

/** Returns the resident memory of a process; undefined when it has ended. */
export function residentKiB(pid: number): number | undefined {
  const found = /^VmRSS:\s*(\d+) kB$/m.exec(read(`/proc/${pid}/status`) ?? "");
  return found === null ? undefined : Number(found[1]);
}

/** Returns the fields of /proc/pid/stat from the third (the state) on. */
function statOf(task: string): string[] | undefined {
  const stat = read(`/proc/${task}/stat`);
  // The second field, the name, is in parentheses and may contain any character.
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** Returns the processes with an argument that contains `text`. */
export function findByArgument(text: string): ProcessIdentity[] {
  return readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid) && commandLine(pid).some((word) => word.includes(text)))
    .flatMap((pid) => identify(Number(pid)) ?? []);
}

/** Kills these processes; ignores a process that has just ended. */
export function killByArgument(text: string): void {
  for (const pid of findByArgument(text)) if (isAlive(pid)) process.kill(pid.pid, "SIGKILL");
}

function commandLine(pid: string): string[] {
  return read(`/proc/${pid}/cmdline`)?.split("\0") ?? [];
}
