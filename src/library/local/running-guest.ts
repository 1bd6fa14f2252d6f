// Running guests as an embedder starts and receives them: a QEMU process, and the spec to start its counterpart elsewhere.

import { systemClock } from "../../drivers/platform/clock.js";
import { endProcess } from "../../drivers/qemu/process/end-process.js";
import { identityOf, QemuProcess } from "../../drivers/qemu/process/process.js";
import type { QemuHandle, QemuSpec } from "../../drivers/qemu/process/spec.js";

/** A guest in a QEMU whose monitors this process holds. */
export interface RunningGuest {
  readonly spec: QemuSpec;
  readonly process: QemuProcess;
  /** Ends the guest, and waits until its process is reaped and its files are removed. */
  end(): Promise<void>;
  /** Detaches from the guest, which keeps running: closes its monitors, so that any process can adopt it again. */
  release(): void;
}

export interface LaunchOptions {
  /** QEMU arguments for this side only, such as the target of its serial port; the other side gets its own. */
  readonly sideArgs?: readonly string[];
}

/**
 * Starts QEMU and its guest.
 * @throws Error with QEMU's messages when it fails to start.
 */
export async function launchGuest(spec: QemuSpec, options: LaunchOptions = {}): Promise<RunningGuest> {
  const { sideArgs = [] } = options;
  return asRunningGuest(spec, await QemuProcess.start(spec, { clock: systemClock, sideArgs }));
}

export interface AdoptedGuest {
  /** `args` must suffice to start the counterpart elsewhere: everything except this side's own monitors and files. */
  readonly spec: QemuSpec;
  readonly pid: number;
  /** Two monitors (`-mon mode=control`) without another client: Unix sockets, or pipes for the second (`QemuHandle`). */
  readonly monitors: QemuHandle["monitors"];
}

/**
 * Attaches to a guest whose QEMU another program started. Its migration and `end` end it like one of ours, but its files
 * remain its owner's.
 * @throws Error when the process does not exist, or a monitor cannot be reached.
 */
export async function adoptGuest({ spec, pid, monitors }: AdoptedGuest): Promise<RunningGuest> {
  const handle = { ...identityOf(pid), monitors, directory: null };
  return asRunningGuest(spec, await QemuProcess.attach(handle, { clock: systemClock }));
}

/** @internal */
export function asRunningGuest(spec: QemuSpec, process: QemuProcess): RunningGuest {
  const end = async () => {
    const answer = await endProcess(process);
    if (answer.kind !== "done") throw new Error(answer.cause.message);
  };
  return { spec, process, end, release: () => process.release() };
}
