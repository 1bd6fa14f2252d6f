// What a QEMU is to be, how it is started, and where it is found again: plain data.

import type { Clock } from "../../../effects/ports.js";
import type { ProcessIdentity } from "../../platform/procfs.js";
import type { Confinement } from "./confinement.js";
import type { GuestLog } from "./guest-log.js";

/** What QEMU is to be. `args` is its hardware, and must be the same on both sides. */
export interface QemuSpec {
  readonly name: string;
  readonly uuid: string;
  /** Default: `qemu-system-x86_64`, from PATH. */
  readonly binary?: string;
  readonly args: readonly string[];
  /** Added to our own environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Where a QEMU is found again, also by another process of ours; plain data, for a journal. */
export interface QemuHandle extends ProcessIdentity {
  /**
   * Two monitors; the second is for when the first hangs (QEMU's docs/interop/qmp-spec). `main` is a unix socket, and so is
   * `rescue`, unless `<rescue>.in` and `<rescue>.out` exist: these are the pipes of QEMU's `-chardev pipe`.
   */
  readonly monitors: { readonly main: string; readonly rescue: string };
  /** Ours, and removed with the process; null when the process is somebody else's. */
  readonly directory: string | null;
}

/** How this host runs its QEMUs. */
export interface Hosting extends Confinement {
  /** Where each guest has its log. Default: there is none. */
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
   * The guest runs there in post-copy, and QEMU's main loop may wait for a page that comes only when its connection has
   * been made anew by the second monitor: the first is reached whenever it answers.
   */
  readonly mayWaitForPages?: boolean | undefined;
}

export interface StartOptions extends Omit<AttachOptions, "log"> {
  readonly hosting?: Hosting | undefined;
  /** Given to QEMU after the hardware: e.g. `-S -incoming defer` and this side's serial port. */
  readonly sideArgs?: readonly string[];
  /** Made for the process and removed with it. Default: a new one below the system's directory for temporary files. */
  readonly directory?: string | undefined;
}
