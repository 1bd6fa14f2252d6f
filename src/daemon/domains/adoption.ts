// Checks the QEMU of a quarantined guest before an operator adopts it: it must respond, and must hold all of the guest's
// memory.

import type { GuestLog } from "../../drivers/qemu/process/guest-log.js";
import { QemuProcess } from "../../drivers/qemu/process/process.js";
import type { Clock } from "../../effects/ports.js";
import { messageOf } from "../../protocol/effect-result.js";
import { libvirtError } from "../rpc/errors.js";
import type { Live } from "./managed-domain.js";

/** Returns the guest's QEMU, attached anew if it does not answer. @throws LibvirtError when it still does not answer. */
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
      `the guest's QEMU (pid ${process.pid}) does not answer: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  });
}

/** Returns true if the guest is running. @throws LibvirtError when QEMU has not received all of its memory. */
export async function isRunningWhole(process: QemuProcess): Promise<boolean> {
  const { running, status } = await process.main.execute("query-status", {});
  const { status: migration = "" } = await process.main.execute("query-migrate", {});
  if (status === "inmigrate" || migration.startsWith("postcopy-"))
    throw libvirtError(
      "OPERATION_INVALID",
      `the QEMU (pid ${process.pid}) has not received all of the guest's memory; it can only be destroyed`,
    );
  return running;
}
