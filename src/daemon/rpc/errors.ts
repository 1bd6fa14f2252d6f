// Builds libvirt errors: libvirt's codes, our messages.

import { errorCodes, errorDomains, LibvirtError } from "../../drivers/libvirt/rpc/libvirt-error.js";
import { printable, printableLines } from "../../protocol/printable.js";

/** The texts that libvirt puts before the detail; clients and operators recognize errors by them. */
const sentences: Partial<Record<keyof typeof errorCodes, string>> = {
  INTERNAL_ERROR: "internal error",
  INVALID_ARG: "invalid argument",
  OPERATION_FAILED: "operation failed",
  XML_ERROR: "XML error",
  NO_DOMAIN: "Domain not found",
  OPERATION_INVALID: "Requested operation is not valid",
  CONFIG_UNSUPPORTED: "unsupported configuration",
  OPERATION_TIMEOUT: "Timed out during operation",
  ARGUMENT_UNSUPPORTED: "argument unsupported",
  OPERATION_ABORTED: "operation aborted",
  OPERATION_UNSUPPORTED: "Operation not supported",
  OPERATION_DENIED: "operation forbidden",
  MIGRATE_UNSAFE: "Unsafe migration",
};

export function libvirtError(
  code: keyof typeof errorCodes,
  detail: string,
  options?: ErrorOptions,
): LibvirtError {
  const sentence = sentences[code];
  // Clients print the message verbatim. XML errors have one line per fault.
  const told = code === "XML_ERROR" ? printableLines(detail) : printable(detail);
  return new LibvirtError(
    {
      code: errorCodes[code],
      domain: errorDomains.QEMU,
      message: sentence === undefined ? told : `${sentence}: ${told}`,
      str1: sentence === undefined ? "%s" : `${sentence}: %s`,
      str2: told,
    },
    options,
  );
}

export const noAgent = (): LibvirtError =>
  libvirtError("ARGUMENT_UNSUPPORTED", "QEMU guest agent is not configured");
