// What Linux says of a process: whether the one that was meant still lives, what it has used, and which ones carry a word
// on their command line. A pid alone proves nothing, since it may have been given to another process since.

import { readdirSync, readFileSync } from "node:fs";

/** A process, told from a later one with the same pid by its start, in clock ticks since the machine's (proc(5), 22). */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: number;
}

/** Undefined when there is no such process, or only its remains that nobody has reaped. */
export function identify(pid: number): ProcessIdentity | undefined {
  const fields = statOf(`${pid}`);
  const state = fields?.[0];
  if (fields === undefined || state === "Z" || state === "X") return undefined;
  return { pid, startTicks: Number(fields[19]) };
}

export const isAlive = ({ pid, startTicks }: ProcessIdentity): boolean =>
  identify(pid)?.startTicks === startTicks;

/** Of a process, or of one thread of it: in user mode and in the kernel. Undefined when it is gone. */
export function cpuTimes(pid: number, thread?: number): { userNs: bigint; systemNs: bigint } | undefined {
  const fields = statOf(thread === undefined ? `${pid}` : `${pid}/task/${thread}`);
  const ns = (ticks: string | undefined) => BigInt(ticks ?? 0) * 10_000_000n;
  return fields && { userNs: ns(fields[11]), systemNs: ns(fields[12]) };
}

/** The memory of a process that is in RAM. Undefined when it is gone. */
export function residentKiB(pid: number): number | undefined {
  const found = /^VmRSS:\s*(\d+) kB$/m.exec(read(`/proc/${pid}/status`) ?? "");
  return found === null ? undefined : Number(found[1]);
}

/** The fields of proc(5)'s stat from the third, the state, on. */
function statOf(task: string): string[] | undefined {
  const stat = read(`/proc/${task}/stat`);
  // The second field, the name, is in brackets and may hold anything.
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** The processes that have a word on their command line that contains `text`. */
export function findByArgument(text: string): ProcessIdentity[] {
  return readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid) && commandLine(pid).some((word) => word.includes(text)))
    .flatMap((pid) => identify(Number(pid)) ?? []);
}

/** Ends those processes; one that has just ended by itself is no harm. */
export function killByArgument(text: string): void {
  for (const pid of findByArgument(text)) if (isAlive(pid)) process.kill(pid.pid, "SIGKILL");
}

function commandLine(pid: string): string[] {
  return read(`/proc/${pid}/cmdline`)?.split("\0") ?? [];
}
