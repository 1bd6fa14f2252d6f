// Every option of `virsh migrate`, what it becomes on the wire, and why it is refused when it is. The options of a migration
// are the table's; beside them are those that virsh obeys itself. Printed to docs/virsh.md.

import { type MigrateFlag, optionRows } from "../../../protocol/options/table.js";

/** What virsh makes of an option: a flag, a typed parameter, or something that it does itself. */
type Becomes = { readonly flag: MigrateFlag } | { readonly parameter: string } | { readonly virsh: string };

export type VirshOption = Becomes & {
  readonly option: string;
  /** Absent: it is supported. */
  readonly refused?: string;
  /** What there is to know beside libvirt's own manual. */
  readonly note?: string;
  /** The release of libvirt whose virsh has it first, when that is later than 9.0. */
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
    refused: "QEMU has no direct migration, with libvirt either; virsh refuses it itself",
  },
  { option: "--verbose", virsh: "asks for the job's progress" },
  {
    option: "--postcopy-after-precopy",
    virsh: "switches to post-copy after the first pass; needs --postcopy",
  },
  {
    option: "--timeout",
    virsh: "suspends the guest at the source when the time is over",
    note: "it runs on at the destination",
  },
  { option: "--timeout-suspend", virsh: "as --timeout alone" },
  {
    option: "--timeout-postcopy",
    virsh: "switches to post-copy when the time is over; needs --postcopy",
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

/** By the field's name. */
export const refusedParameters: ReadonlyMap<string, string> = new Map(
  optionRows.flatMap(({ libvirt, virsh }) =>
    libvirt?.parameter !== undefined && virsh?.refused !== undefined
      ? [[libvirt.parameter, virsh.refused] as const]
      : [],
  ),
);
