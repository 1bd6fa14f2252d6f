// A reason why a guest cannot move, and what has to be known of both sides to find them all.

import type { Domain } from "../domain.js";
import type { Place } from "../xml/errors.js";
import type { HostFacts } from "./host-facts.js";

export type IncompatibilityCode =
  /** The guest would find other hardware than it left. */
  | "guest-abi"
  /** Something in the XML that we cannot start. */
  | "unsupported"
  /** A device of the host that the guest holds. */
  | "host-device"
  /** A CPU whose state is not sent. */
  | "cpu-unmigratable"
  /** A CPU that is another one on each host, or lacks something there. */
  | "cpu-differs"
  | "cpu-unknown"
  | "machine-unknown"
  /** One name for two machines. */
  | "machine-differs"
  | "too-many-cpus"
  | "device-unknown"
  | "no-kvm"
  | "uuid-taken"
  | "name-taken"
  /** The disk's bytes are on the source's host alone. */
  | "disk-local"
  /** What the source's host has cached may overtake what the destination writes. */
  | "disk-unsafe"
  | "disk-missing"
  | "firmware-missing"
  | "kernel-missing";

export interface Incompatibility {
  readonly code: IncompatibilityCode;
  /** As in XPath; where it is in each XML that has it. */
  readonly path: string;
  readonly source: Place | undefined;
  readonly destination: Place | undefined;
  readonly what: string;
  /** What a person can do about it. */
  readonly next: string;
}

export interface Move {
  readonly source: Domain;
  /** Default: the same as at the source. */
  readonly destination?: Domain;
  readonly sourceHost?: HostFacts;
  /** Without it nothing is said about whether the destination has what is needed. */
  readonly destinationHost?: HostFacts;
  /** Targets of the disks that the migration itself copies. */
  readonly copiedDisks?: readonly string[];
  /** Both QEMUs run on one host, where each sees what the other has written. */
  readonly sameHost?: boolean;
}

/** What a machine is called with its version. */
export const machineName = (machine: string | undefined, host: HostFacts | undefined): string | undefined =>
  host?.qemu.machines.find((type) => type.alias === machine)?.name ?? machine;
