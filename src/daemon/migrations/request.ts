// The words of a step, whatever the form of the call that brings them: read, and what is not supported refused by name.

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

/** @throws LibvirtError that names each flag, or the parameter, that is not supported. */
export function wordsOf(params: readonly TypedParam[], cookie: Uint8Array, bits: number): StepRequest {
  const flags = checkedFlags(bits);
  const parameters = parametersOf(params);
  if (!isWrong(parameters)) return { flags, parameters, cookie };
  const { field, why } = parameters;
  const reason = refusedParameters.get(field);
  const said = {
    unknown: reason === undefined ? "not supported" : `not supported: ${reason}`,
    "wrong type": "of a wrong type",
    repeated: "given twice",
  }[why];
  throw libvirtError("ARGUMENT_UNSUPPORTED", `the migration parameter '${field}' is ${said}`);
}

/** The fixed forms' words: null and a bandwidth of 0 are what is not given. */
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
    throw libvirtError("INVALID_ARG", `a bandwidth of ${resource} MiB/s`);
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

/** The domain of that XML, under the name that it is to have at the destination. */
export function renamed(domains: Domains, xml: string, name: string | undefined): Domain {
  const domain = domains.parse(xml);
  if (name === undefined || name === domain.name) return domain;
  const escaped = name.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return domains.parse(domain.xml.replace(/<name>[^<]*<\/name>/, () => `<name>${escaped}</name>`));
}
