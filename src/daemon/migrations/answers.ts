// Converts the answers of a migration's sides to libvirt errors.

import type { LibvirtError } from "../../drivers/libvirt/rpc/libvirt-error.js";
import type { Answer } from "../../protocol/effect-result.js";
import { describeFailure, type Failure } from "../../protocol/failure.js";
import { libvirtError } from "../rpc/errors.js";

/** Returns the value of an answer. @throws LibvirtError with the messages of its failures. */
export function unwrap<T>(answer: Answer<T>): T {
  if (answer.kind === "done") return answer.value;
  const { failures = [], message, qemu = [] } = answer.cause;
  if (failures.length > 0) throw errorOf(failures, message);
  const words = qemu.length === 0 ? message : `${message}: ${qemu.join(" | ")}`;
  throw libvirtError(answer.kind === "unknown" ? "OPERATION_TIMEOUT" : "OPERATION_FAILED", words);
}

export function errorOf(failures: readonly Failure[], otherwise: string): LibvirtError {
  const [first] = failures;
  if (first === undefined) return libvirtError("OPERATION_FAILED", otherwise);
  if (first.code === "aborted")
    return libvirtError("OPERATION_ABORTED", "job 'migration out' canceled by client");
  return libvirtError("OPERATION_FAILED", failures.map(describeFailure).join("; "));
}
