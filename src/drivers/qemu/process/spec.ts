// How a QEMU is configured, started and found again: plain data.

import type { Clock } from "../../../effects/ports.js";
import type { ProcessIdentity } from "../../platform/procfs.js";
import type { Confinement } from "./confinement.js";
import type { GuestLog } from "./guest-log.js";

/** Configuration of a QEMU. `args` is its hardware, and must be the same on both sides. */
export interface QemuSpec {
  readonly name: string;
  readonly uuid: string;
  /** Default: `qemu-system-x86_64`, from PATH. */
  readonly binary?: string;
  readonly args: readonly string[];
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Identifies a running QEMU, also for another process of this program; plain data, for a journal. */
export interface QemuHandle extends ProcessIdentity {
  /**
   * Two monitors; the second is for when the first hangs (QEMU's docs/interop/qmp-spec). `main` is a unix socket, and
   * so is `rescue`, unless `<rescue>.in` and `<rescue>.out` exist: these are the pipes of QEMU's `-chardev pipe`.
   */
  readonly monitors: { readonly main: string; readonly rescue: string };
  /** Created by this program and removed with the process; null when the process belongs to an embedder. */
  readonly directory: string | null;
}

/** The host's settings for its QEMUs. */
export interface Hosting extends Confinement {
  /** Directory of the guests' logs. Default: no logs. */
  readonly logDirectory?: string | undefined;
}

export interface AttachOptions {
  readonly clock: Clock;
  readonly log?: GuestLog | undefined;
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
}

export interface FindOptions extends AttachOptions {
  /**
   * The guest runs there in post-copy, and QEMU's main loop may wait for a page that arrives only when its connection
   * has been re-established through the second monitor: the first one opens when it answers.
   */
  readonly mayWaitForPages?: boolean | undefined;
}

export interface StartOptions extends Omit<AttachOptions, "log"> {
  readonly hosting?: Hosting | undefined;
  /** Passed to QEMU after the hardware: for example `-S -incoming defer` and this side's serial port. */
  readonly sideArgs?: readonly string[];
  /** Created for the process and removed with it. Default: a new one in the system's directory for temporary files. */
  readonly directory?: string | undefined;
}
