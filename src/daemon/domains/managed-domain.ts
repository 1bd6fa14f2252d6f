// A domain as the daemon has it, and libvirt's numbers for what it is in and what happens to it.

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

/** A guest that runs, or is paused, in a QEMU of this host. */
export interface Live {
  /** libvirt's: counted from 1, never given twice by one daemon. */
  readonly id: number;
  readonly domain: Domain;
  readonly guest: RunningGuest;
  /** What the end of its QEMU means, whoever sees it first. */
  endsAs: "crashed" | "shutdown" | "destroyed";
  /** Its QEMU has ended. */
  gone: boolean;
  why: Cause | null;
}

/** How a guest has stopped whose QEMU ended in a migration. */
export const endInMigration = (live: Live | null): WhyStopped =>
  live === null || live.endsAs === "crashed" ? "failed" : live.endsAs;

/** A guest that is on its way here. */
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
  /** Everything that can run, stop or forget the guest here goes through this machine (G1). */
  readonly authority: ActorRefFrom<typeof domainMachine>;
  /** Null for a transient domain. */
  definition: Domain | null;
  /** Started with the host. */
  autostart: boolean;
  live: Live | null;
  /** Null unless the guest is arriving and does not run here yet. */
  arriving: Arriving | null;
  /** Where the guest went by a migration; null when it is not known to be elsewhere. */
  away: Away | null;
  state: { name: StateName; reason: number };
  /** Why its last QEMU ended, when that was no orderly end. */
  whyStopped: string | null;
  /** The one thing that is done with it; others wait or are refused. */
  job: Job | null;
  /** For its next migration. */
  limits: Pick<Limits, "bandwidthMiBps" | "diskBandwidthMiBps" | "maxDowntimeMs">;
}

export interface LifecycleEvent {
  readonly domain: ManagedDomain;
  readonly event: EventName;
  readonly detail: number;
}

/** libvirt's reasons of states (virDomainRunningReason, …PausedReason, …ShutoffReason). */
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
/** And of lifecycle events (virDomainEvent…DetailType). */
export const details = {
  defined: { added: 0, updated: 1 },
  undefined: { removed: 0 },
  started: { booted: 0, migrated: 1 },
  suspended: { paused: 0, migrated: 1, postcopy: 7, postcopyFailed: 8 },
  resumed: { unpaused: 0, migrated: 1, postcopy: 3, postcopyFailed: 4 },
  shutdown: { guest: 1, host: 2 },
  stopped: { shutdown: 0, destroyed: 1, crashed: 2, migrated: 3, failed: 5 },
} as const;

/** A guest whose memory is on two hosts, or was when it was lost. */
export const isInPostcopy = ({ state: { name, reason } }: ManagedDomain): boolean =>
  (name === "running" || name === "paused") &&
  (reason === reasons[name].postcopy || reason === reasons[name].postcopyFailed);

/** It cannot go on: some of its memory is not here, and nobody sends it. */
export const isBrokenInPostcopy = ({ state: { name, reason } }: ManagedDomain): boolean =>
  (name === "running" || name === "paused") && reason === reasons[name].postcopyFailed;

/** Why the guest is quarantined; null when it is not. */
export function quarantineOf({ authority }: ManagedDomain): string | null {
  const snapshot = authority.getSnapshot();
  return snapshot.hasTag("quarantined") ? snapshot.context.why : null;
}

/** Whether the guest departs, and the destination's host cannot say who runs it. */
export const isUndecided = ({ authority }: ManagedDomain): boolean =>
  authority.getSnapshot().matches({ departing: "undecided" });

/** Whether libvirt's clients see the domain as active. */
export const isActive = ({ live, arriving }: Pick<ManagedDomain, "live" | "arriving">): boolean =>
  live !== null || arriving !== null;

export type WhyStopped = keyof typeof reasons.shutoff & keyof typeof details.stopped;
