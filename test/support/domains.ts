// Builds complete domain XML for tests from the few parts that a test is about.

import { type Domain, parseDomain } from "../../src/drivers/domain-xml/domain.js";
import { type BuiltQemu, buildQemu } from "../../src/drivers/domain-xml/qemu-args/build.js";
import { DomainXmlError, type Refusal } from "../../src/drivers/domain-xml/xml/errors.js";

export const uuid = "c7a5fdbd-edaf-9455-926a-d65c16db1809";

interface Parts {
  readonly type?: "qemu" | "kvm";
  readonly machine?: string;
  /** Inside <os>, after the type. */
  readonly os?: string;
  readonly devices?: string;
  /** Siblings of <os> and <devices>. */
  readonly more?: string;
}

/** Puts each part on its own line, so that a refusal's line number identifies it: <os> is line 5, <devices> follows it. */
export const domainXml = ({ type = "qemu", machine = "pc", os = "", devices = "", more = "" }: Parts = {}) =>
  `<domain type='${type}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>guest</name>
  <uuid>${uuid}</uuid>
  <memory unit='KiB'>65544</memory>
  <os><type arch='x86_64' machine='${machine}'>hvm</type>${os}</os>
  ${more}
  <devices>
    ${devices}
  </devices>
</domain>
`;

/** The QEMU arguments without those that every domain has. */
export const bare = (parts: Parts = {}) =>
  domainXml({
    ...parts,
    devices: `<controller type='usb' model='none'/><memballoon model='none'/>${parts.devices ?? ""}`,
    more: `<features><acpi/></features>${parts.more ?? ""}`,
  });

export const noKvm = { works: false, why: "there is no /dev/kvm" } as const;

export const build = (xml: string, kvm = true): BuiltQemu =>
  buildQemu(parseDomain(xml), { kvm: kvm ? { works: true } : noKvm, directory: "/run/guest" });

/** Options with their values, one string each. */
export function words(args: readonly string[]): string[] {
  return args.reduce<string[]>((all, arg) => {
    if (arg.startsWith("-") || all.length === 0) all.push(arg);
    else all[all.length - 1] += ` ${arg}`;
    return all;
  }, []);
}

/** Returns all refusals of a domain, from parsing or from building its arguments. */
export function refusalsOf(xml: string, kvm = true): readonly Refusal[] {
  try {
    build(xml, kvm);
    return [];
  } catch (error) {
    if (error instanceof DomainXmlError) return error.refusals;
    throw error;
  }
}

export const parsed = (xml: string): Domain => parseDomain(xml);
