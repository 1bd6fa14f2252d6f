// A migration blocker, and the facts about both sides that the checks need.

import type { Domain } from "../domain.js";
import type { Place } from "../xml/errors.js";
import type { HostFacts } from "./host-facts.js";

export type IncompatibilityCode =
  /** The guest's hardware would change. */
  | "guest-abi"
  /** The XML uses something that switchover does not support. */
  | "unsupported"
  /** The guest uses a device of its host. */
  | "host-device"
  /** QEMU cannot migrate the state of this CPU. */
  | "cpu-unmigratable"
  /** The CPU differs between the hosts, or the destination lacks some of its features. */
  | "cpu-differs"
  | "cpu-unknown"
  | "machine-unknown"
  /** One machine name resolves to different machine types on the two hosts. */
  | "machine-differs"
  | "too-many-cpus"
  | "device-unknown"
  | "no-kvm"
  | "uuid-taken"
  | "name-taken"
  /** Only the source's host can reach the disk's data. */
  | "disk-local"
  /** The source's host cache may be written after, and over, what the destination writes. */
  | "disk-unsafe"
  | "disk-missing"
  | "firmware-missing"
  | "kernel-missing";

export interface Incompatibility {
  readonly code: IncompatibilityCode;
  /** XPath of the element or attribute; `source` and `destination` give its place in each XML that has it. */
  readonly path: string;
  readonly source: Place | undefined;
  readonly destination: Place | undefined;
  readonly what: string;
  /** The remedy for the operator. */
  readonly next: string;
}

export interface Move {
  readonly source: Domain;
  /** Default: the source's domain. */
  readonly destination?: Domain;
  readonly sourceHost?: HostFacts;
  /** Without it, the checks that depend on the destination's host are skipped. */
  readonly destinationHost?: HostFacts;
  /** Targets of the disks that the migration mirrors. */
  readonly copiedDisks?: readonly string[];
  /** Both QEMUs run on one host, so that each reads what the other has written. */
  readonly sameHost?: boolean;
}

/** Resolves a machine alias to the versioned machine type on that host. */
export const machineName = (machine: string | undefined, host: HostFacts | undefined): string | undefined =>
  host?.qemu.machines.find((type) => type.alias === machine)?.name ?? machine;
