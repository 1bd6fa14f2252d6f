// Checks the QEMU of a quarantined guest before an operator adopts it: it must respond, and must hold all of the guest's
// memory.

import type { GuestLog } from "../../drivers/qemu/process/guest-log.js";
import { QemuProcess } from "../../drivers/qemu/process/process.js";
import type { Clock } from "../../effects/ports.js";
import { messageOf } from "../../protocol/effect-result.js";
import { libvirtError } from "../rpc/errors.js";
import type { Live } from "./managed-domain.js";

/** The guest's QEMU; one that did not answer is asked again. @throws LibvirtError when it still does not. */
export async function answeringQemu(
  { guest: { process } }: Live,
  options: { readonly clock: Clock; readonly log: GuestLog | undefined },
): Promise<QemuProcess> {
  const answers = await process.main.execute("query-status", {}).then(
    () => true,
    () => false,
  );
  if (answers) return process;
  return QemuProcess.attach(process.handle, options).catch((error: unknown) => {
    throw libvirtError(
      "OPERATION_FAILED",
      `its QEMU (pid ${process.pid}) does not answer: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  });
}

/** Whether the guest runs. @throws LibvirtError when QEMU has not got all of its memory. */
export async function isRunningWhole(process: QemuProcess): Promise<boolean> {
  const { running, status } = await process.main.execute("query-status", {});
  const { status: migration = "" } = await process.main.execute("query-migrate", {});
  if (status === "inmigrate" || migration.startsWith("postcopy-"))
    throw libvirtError(
      "OPERATION_INVALID",
      `its QEMU (pid ${process.pid}) has not got all of the guest's memory, and can only be destroyed`,
    );
  return running;
}
