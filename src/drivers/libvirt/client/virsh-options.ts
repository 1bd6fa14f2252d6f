// Every option of `virsh migrate`, its form on the wire, and the reason when it is refused. Migration options come from the
// option table; the others are those that virsh handles itself. Printed to docs/virsh.md.

import { type MigrateFlag, optionRows } from "../../../protocol/options/table.js";

/** An option's form on the wire: a flag, a typed parameter, or something that virsh does itself. */
type Becomes = { readonly flag: MigrateFlag } | { readonly parameter: string } | { readonly virsh: string };

export type VirshOption = Becomes & {
  readonly option: string;
  /** The reason for the refusal; absent when the option is supported. */
  readonly refused?: string;
  /** Remarks beyond libvirt's manual. */
  readonly note?: string;
  /** The libvirt release whose virsh introduced the option, when later than 9.0. */
  readonly since?: string;
};

const byVirshItself: readonly VirshOption[] = [
  { option: "--domain", virsh: "looks the domain up at the source" },
  {
    option: "--desturi",
    virsh: "connects to the destination",
    note: "with --p2p it must name a host",
  },
  {
    option: "--direct",
    virsh: "asks the source for a migration without a libvirt at the destination",
    refused:
      "QEMU does not support direct migration, nor does libvirt's driver; virsh refuses the option itself",
  },
  { option: "--verbose", virsh: "asks for the job's progress" },
  {
    option: "--postcopy-after-precopy",
    virsh: "switches to post-copy after the first pass; requires --postcopy",
  },
  {
    option: "--timeout",
    virsh: "suspends the guest at the source when the time has elapsed",
    note: "the guest resumes at the destination",
  },
  { option: "--timeout-suspend", virsh: "as --timeout alone" },
  {
    option: "--timeout-postcopy",
    virsh: "switches to post-copy when the time has elapsed; requires --postcopy",
  },
];

const onTheWire: readonly VirshOption[] = optionRows.flatMap(
  ({ virsh, libvirt: { flag, parameter } = {} }): VirshOption[] => {
    if (virsh === undefined) return [];
    if (flag !== undefined) return [{ ...virsh, flag }];
    return parameter === undefined ? [] : [{ ...virsh, parameter }];
  },
);

export const virshOptions: Readonly<Record<string, VirshOption>> = Object.fromEntries(
  [...byVirshItself, ...onTheWire].map((row) => [row.option, row]),
);

export const refusedFlags: ReadonlyMap<MigrateFlag, string> = new Map(
  optionRows.flatMap(({ libvirt, virsh }) =>
    libvirt?.flag !== undefined && virsh?.refused !== undefined
      ? [[libvirt.flag, virsh.refused] as const]
      : [],
  ),
);

/** Reasons for refusal, by the name of the parameter's field. */
export const refusedParameters: ReadonlyMap<string, string> = new Map(
  optionRows.flatMap(({ libvirt, virsh }) =>
    libvirt?.parameter !== undefined && virsh?.refused !== undefined
      ? [[libvirt.parameter, virsh.refused] as const]
      : [],
  ),
);
