// Parses the request of a step from any form of the call, and refuses unsupported flags and parameters by name.

import type { Domain } from "../../drivers/domain-xml/domain.js";
import {
  flagsOf,
  isWrong,
  type MigrateFlag,
  type MigrateParameters,
  parametersOf,
} from "../../drivers/libvirt/client/flags.js";
import { refusedFlags, refusedParameters } from "../../drivers/libvirt/client/virsh-options.js";
import type { TypedParam } from "../../drivers/libvirt/rpc/libvirt-types.js";
import type { Domains } from "../domains/registry.js";
import { libvirtError } from "../rpc/errors.js";

export interface StepRequest {
  readonly flags: ReadonlySet<MigrateFlag>;
  readonly parameters: MigrateParameters;
  readonly cookie: Uint8Array;
}

/** @throws LibvirtError that names each unsupported flag, or the unsupported parameter. */
export function requestOf(params: readonly TypedParam[], cookie: Uint8Array, bits: number): StepRequest {
  const flags = checkedFlags(bits);
  const parameters = parametersOf(params);
  if (!isWrong(parameters)) return { flags, parameters, cookie };
  const { field, why } = parameters;
  const reason = refusedParameters.get(field);
  const problem = {
    unknown: reason === undefined ? "not supported" : `not supported: ${reason}`,
    "wrong type": "of the wrong type",
    repeated: "given twice",
  }[why];
  throw libvirtError("ARGUMENT_UNSUPPORTED", `the migration parameter '${field}' is ${problem}`);
}

/** The arguments of the fixed forms; null, and a bandwidth of 0, mean that the argument is not given. */
export interface FixedRequest {
  readonly uri?: string | null;
  readonly name?: string | null;
  readonly xml?: string | null;
  readonly resource?: bigint;
  readonly flags: bigint;
}

export function requestOfFixed(
  { uri, name, xml, resource = 0n, flags }: FixedRequest,
  cookie: Uint8Array,
): StepRequest {
  const high = flags >> 32n;
  if (high !== 0n) throw libvirtError("INVALID_ARG", `unsupported flags (0x${flags.toString(16)})`);
  if (resource > BigInt(Number.MAX_SAFE_INTEGER))
    throw libvirtError("INVALID_ARG", `bandwidth ${resource} MiB/s is too large`);
  const parameters = {
    ...(typeof uri === "string" && { uri }),
    ...(typeof name === "string" && { name }),
    ...(typeof xml === "string" && { xml }),
    ...(resource !== 0n && { bandwidthMiBps: Number(resource) }),
  };
  return { flags: checkedFlags(Number(flags)), parameters, cookie };
}

function checkedFlags(bits: number): ReadonlySet<MigrateFlag> {
  const { flags, unknown } = flagsOf(bits);
  if (unknown !== 0) throw libvirtError("INVALID_ARG", `unsupported flags (0x${unknown.toString(16)})`);
  const refused = [...flags].flatMap((flag) => {
    const reason = refusedFlags.get(flag);
    return reason === undefined ? [] : [`${flag}: ${reason}`];
  });
  if (refused.length > 0) throw libvirtError("ARGUMENT_UNSUPPORTED", refused.join("; "));
  return flags;
}

/** Returns the domain of the XML under its name at the destination. */
export function renamed(domains: Domains, xml: string, name: string | undefined): Domain {
  const domain = domains.parse(xml);
  if (name === undefined || name === domain.name) return domain;
  const escaped = name.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return domains.parse(domain.xml.replace(/<name>[^<]*<\/name>/, () => `<name>${escaped}</name>`));
}
