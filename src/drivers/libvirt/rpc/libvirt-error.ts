// libvirt's error, in its wire form (virNetMessageError) and as it is thrown on either side. Numbers from virterror.h.

import { RpcError } from "./errors.js";
import { nonnullDomain, nonnullString, uuid } from "./libvirt-types.js";
import { int, words, type XdrValue } from "./xdr.js";
import { optional, struct } from "./xdr-compound.js";

export const errorCodes = {
  INTERNAL_ERROR: 1,
  NO_SUPPORT: 3,
  NO_CONNECT: 5,
  INVALID_ARG: 8,
  OPERATION_FAILED: 9,
  XML_ERROR: 27,
  DOM_EXIST: 28,
  OPERATION_DENIED: 29,
  SYSTEM_ERROR: 38,
  RPC: 39,
  NO_DOMAIN: 42,
  AUTH_FAILED: 45,
  OPERATION_INVALID: 55,
  CONFIG_UNSUPPORTED: 67,
  OPERATION_TIMEOUT: 68,
  MIGRATE_PERSIST_FAILED: 69,
  HOOK_SCRIPT_FAILED: 70,
  ARGUMENT_UNSUPPORTED: 74,
  OPERATION_ABORTED: 78,
  MIGRATE_UNSAFE: 81,
  OPERATION_UNSUPPORTED: 84,
  AGENT_UNRESPONSIVE: 86,
  ACCESS_DENIED: 88,
  CPU_INCOMPATIBLE: 91,
  MIGRATE_FINISH_OK: 93,
} as const;

/** The part of libvirt that reports the error. */
export const errorDomains = { NONE: 0, DOM: 6, RPC: 7, QEMU: 10, REMOTE: 13, DOMAIN: 20 } as const;

const errorLevel = 2;
const text = optional(words(4_194_304));

export const errorStruct = struct({
  code: int,
  domain: int,
  message: text,
  level: int,
  dom: optional(nonnullDomain),
  str1: text,
  str2: text,
  str3: text,
  int1: int,
  int2: int,
  net: optional(struct({ name: nonnullString, uuid })),
});

type ErrorFields = Omit<XdrValue<typeof errorStruct>, "dom" | "net">;

/** A rejection by the peer. `code` and `domain` are libvirt's numbers, including those missing from the tables above. */
export class LibvirtError extends RpcError implements ErrorFields {
  override readonly name = "LibvirtError";
  readonly code: number;
  readonly domain: number;
  readonly level: number;
  /** The message's format before translation, and its arguments. */
  readonly str1: string | null;
  readonly str2: string | null;
  readonly str3: string | null;
  readonly int1: number;
  readonly int2: number;

  constructor(
    fields: Pick<ErrorFields, "code" | "domain" | "message"> & Partial<ErrorFields>,
    options?: ErrorOptions,
  ) {
    super(fields.message ?? `error ${fields.code} without a message`, options);
    this.code = fields.code;
    this.domain = fields.domain;
    this.level = fields.level ?? errorLevel;
    this.str1 = fields.str1 ?? null;
    this.str2 = fields.str2 ?? null;
    this.str3 = fields.str3 ?? null;
    this.int1 = fields.int1 ?? -1;
    this.int2 = fields.int2 ?? -1;
  }

  toWire(): XdrValue<typeof errorStruct> {
    const { code, domain, message, level, str1, str2, str3, int1, int2 } = this;
    return { code, domain, message, level, dom: null, str1, str2, str3, int1, int2, net: null };
  }
}

/** Builds an error of the RPC layer itself, before or after a procedure has run. */
export const rpcError = (message: string, options?: ErrorOptions): LibvirtError =>
  new LibvirtError({ code: errorCodes.RPC, domain: errorDomains.RPC, message }, options);
