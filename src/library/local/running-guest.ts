// The guests that an embedder starts and gets back: a QEMU of ours, with what is needed to start its twin elsewhere.

import { systemClock } from "../../drivers/platform/clock.js";
import { endProcess } from "../../drivers/qemu/process/end-process.js";
import { identityOf, QemuProcess } from "../../drivers/qemu/process/process.js";
import type { QemuHandle, QemuSpec } from "../../drivers/qemu/process/spec.js";

/** A guest that runs in a QEMU that we hold the monitors of. */
export interface RunningGuest {
  readonly spec: QemuSpec;
  readonly process: QemuProcess;
  /** Ends the guest and waits until its process is reaped and its files are removed. */
  end(): Promise<void>;
  /** Lets it run on without us: hangs up its monitors, so that it can be adopted again, from any process. */
  release(): void;
}

export interface LaunchOptions {
  /** QEMU arguments of this side alone, such as where its serial port writes; the twin gets its own. */
  readonly sideArgs?: readonly string[];
}

/**
 * Starts QEMU and its guest.
 * @throws Error with QEMU's own words when it does not come up.
 */
export async function launchGuest(spec: QemuSpec, options: LaunchOptions = {}): Promise<RunningGuest> {
  const { sideArgs = [] } = options;
  return asRunningGuest(spec, await QemuProcess.start(spec, { clock: systemClock, sideArgs }));
}

export interface AdoptedGuest {
  /** `args` must be enough to start its twin elsewhere: everything but this side's own monitors and files. */
  readonly spec: QemuSpec;
  readonly pid: number;
  /** Two monitors (`-mon mode=control`) that nobody else is connected to: unix sockets, or pipes for the second (`QemuHandle`). */
  readonly monitors: QemuHandle["monitors"];
}

/**
 * Takes up a guest whose QEMU somebody else has started. It is ended by its migration, and by `end`, like one of ours;
 * its files are its owner's.
 * @throws Error when there is no such process, or a monitor cannot be reached.
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
