// Enforces `migration.tls.required`, libvirt's migrate_tls_force: no guest leaves or arrives without TLS.

import type { DaemonConfig } from "../config.js";
import { libvirtError } from "../rpc/errors.js";
import type { StepRequest } from "./request.js";

/** A tunnelled stream is as secure as the connection between the daemons. @throws LibvirtError OPERATION_INVALID */
export function checkEncrypted({ migration }: DaemonConfig, { flags }: Pick<StepRequest, "flags">): void {
  if (migration.tls?.required !== true || flags.has("TLS") || flags.has("TUNNELLED")) return;
  throw libvirtError(
    "OPERATION_INVALID",
    "this host requires TLS for migrations (migration.tls.required); use --tls",
  );
}
