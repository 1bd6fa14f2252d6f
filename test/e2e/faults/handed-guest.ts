// A guest as one process passes it to another.

import { systemClock } from "../../../src/drivers/platform/clock.js";
import { QemuProcess } from "../../../src/drivers/qemu/process/process.js";
import type { QemuHandle, QemuSpec } from "../../../src/drivers/qemu/process/spec.js";
import { asRunningGuest } from "../../../src/library/local/running-guest.js";

export interface HandedGuest {
  readonly spec: QemuSpec;
  readonly handle: QemuHandle;
}

/** A monitor serves one client: the previous owner of the guest must have disconnected. */
export const takeGuest = async ({ spec, handle }: HandedGuest) =>
  asRunningGuest(spec, await QemuProcess.attach(handle, { clock: systemClock }));
