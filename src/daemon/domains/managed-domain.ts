// The daemon's representation of a domain, and libvirt's numbers for its states and events.

import type { ActorRefFrom } from "xstate";
import type { Domain } from "../../drivers/domain-xml/domain.js";
import type { domainStates, lifecycleEvents } from "../../drivers/libvirt/rpc/constants.js";
import type { RunningGuest } from "../../library/local/running-guest.js";
import type { domainMachine } from "../../machines/domain/machine.js";
import type { Limits } from "../../protocol/convergence/limits.js";
import type { Cause } from "../../protocol/effect-result.js";
import type { Job } from "./job.js";
import type { Away } from "./records.js";

type StateName = keyof typeof domainStates;
export type EventName = keyof typeof lifecycleEvents;

/** A guest that is running or paused in a QEMU of this host. */
export interface Live {
  /** libvirt domain id: starts at 1, never reused by one daemon. */
  readonly id: number;
  readonly domain: Domain;
  readonly guest: RunningGuest;
  /** The meaning of its QEMU's exit, independent of which observer detects it first. */
  endsAs: "crashed" | "shutdown" | "destroyed";
  /** True when its QEMU has exited. */
  gone: boolean;
  why: Cause | null;
}

/** Returns how a guest stopped whose QEMU exited during a migration. */
export const endInMigration = (live: Live | null): WhyStopped =>
  live === null || live.endsAs === "crashed" ? "failed" : live.endsAs;

/** A guest that is arriving by a migration. */
export interface Arriving {
  /** The libvirt domain id that it keeps when it runs here. */
  readonly id: number;
  readonly domain: Domain;
  /** Ends the incoming guest on behalf of an operator. @throws LibvirtError when that cannot be done. */
  destroy(): Promise<void>;
}

export interface ManagedDomain {
  readonly name: string;
  readonly uuid: string;
  /** Every start, stop and removal of the guest on this host goes through this machine (G1). */
  readonly authority: ActorRefFrom<typeof domainMachine>;
  /** Null for a transient domain. */
  definition: Domain | null;
  /** True if the domain is started with the host. */
  autostart: boolean;
  live: Live | null;
  /** Null unless the guest is arriving and does not run here yet. */
  arriving: Arriving | null;
  /** The host to which the guest was migrated; null when it is not known to be elsewhere. */
  away: Away | null;
  state: { name: StateName; reason: number };
  /** Why its last QEMU exited; null after an orderly exit. */
  whyStopped: string | null;
  /** The domain's only active job; other jobs wait or are refused. */
  job: Job | null;
  /** Limits of its next migration. */
  limits: Pick<Limits, "bandwidthMiBps" | "diskBandwidthMiBps" | "maxDowntimeMs">;
}

export interface LifecycleEvent {
  readonly domain: ManagedDomain;
  readonly event: EventName;
  readonly detail: number;
}

/** libvirt's reasons for states (virDomainRunningReason, …PausedReason, …ShutoffReason). */
export const reasons = {
  running: {
    unknown: 0,
    booted: 1,
    migrated: 2,
    unpaused: 5,
    migrationCanceled: 6,
    postcopy: 10,
    postcopyFailed: 11,
  },
  paused: { unknown: 0, user: 1, migration: 2, ioError: 5, postcopy: 12, postcopyFailed: 13 },
  shutoff: { unknown: 0, shutdown: 1, destroyed: 2, crashed: 3, migrated: 4, failed: 6 },
} as const;
/** libvirt's details of lifecycle events (virDomainEvent…DetailType). */
export const details = {
  defined: { added: 0, updated: 1 },
  undefined: { removed: 0 },
  started: { booted: 0, migrated: 1 },
  suspended: { paused: 0, migrated: 1, postcopy: 7, postcopyFailed: 8 },
  resumed: { unpaused: 0, migrated: 1, postcopy: 3, postcopyFailed: 4 },
  shutdown: { guest: 1, host: 2 },
  stopped: { shutdown: 0, destroyed: 1, crashed: 2, migrated: 3, failed: 5 },
} as const;

/** Returns true for a guest whose memory is split between two hosts, or was when post-copy failed. */
export const isInPostcopy = ({ state: { name, reason } }: ManagedDomain): boolean =>
  (name === "running" || name === "paused") &&
  (reason === reasons[name].postcopy || reason === reasons[name].postcopyFailed);

/** Returns true for a guest that cannot continue: some of its memory is missing and no source sends it. */
export const isBrokenInPostcopy = ({ state: { name, reason } }: ManagedDomain): boolean =>
  (name === "running" || name === "paused") && reason === reasons[name].postcopyFailed;

/** Returns the reason of the quarantine; null when the guest is not quarantined. */
export function quarantineOf({ authority }: ManagedDomain): string | null {
  const snapshot = authority.getSnapshot();
  return snapshot.hasTag("quarantined") ? snapshot.context.why : null;
}

/** Returns true for a departing guest of which the destination host cannot report who runs it. */
export const isUndecided = ({ authority }: ManagedDomain): boolean =>
  authority.getSnapshot().matches({ departing: "undecided" });

/** Returns true if libvirt clients see the domain as active. */
export const isActive = ({ live, arriving }: Pick<ManagedDomain, "live" | "arriving">): boolean =>
  live !== null || arriving !== null;

export type WhyStopped = keyof typeof reasons.shutoff & keyof typeof details.stopped;
