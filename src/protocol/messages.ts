// Requests and replies of the five steps and of settle: plain, small data that crosses hosts, versioned by the driver
// that carries it.

import type { Failure } from "./failure.js";
import type { DestinationOutcome, SourceOutcome } from "./outcomes.js";
import type { ConnectionUri, HostName, StreamAddress } from "./peer-text.js";

/** Names one migration of one guest. Every question carries it, so that late and repeated messages are recognized. */
export interface Identity {
  /** Unique to this migration. */
  readonly migrationId: string;
  /** The guest's uuid, as in libvirt's domain XML. */
  readonly uuid: string;
  readonly name: string;
}

/** Whether the guest's vCPUs ran before the migration; a paused guest stays paused on the side where it ends. */
export type GuestWas = "running" | "paused";

/** A disk whose contents migrate with the guest, because the hosts do not share it. */
export interface CopiedDisk {
  /** Name of QEMU's device or drive; the same on both sides. */
  readonly name: string;
  readonly capacityBytes: number;
}

/** Begin's reply, which is passed to Prepare: the destination must match it. */
export interface GuestDescription {
  readonly uuid: string;
  readonly guestWas: GuestWas;
  readonly qemuVersion: string;
  readonly memoryBytes: number;
  /** Migration capabilities that the source's QEMU supports. */
  readonly capabilities: readonly string[];
  /** Disks to be mirrored; empty when all storage is shared. */
  readonly disks: readonly CopiedDisk[];
  /** Token that the destination must present to the fence before it runs the guest; null without a fence. */
  readonly fencingToken: string | null;
}

/** Identifies the migration in a question to the fence. */
export interface Fenced {
  readonly identity: Identity;
  readonly token: string;
}

/** QEMU's migration settings from before the migration, restored when the guest stays. */
export interface Settings {
  readonly capabilities: Readonly<Record<string, boolean>>;
  readonly parameters: Readonly<Record<string, number | string>>;
}

/** Prepare's reply, which is passed to Perform. */
export interface Prepared {
  /** The address at which QEMU listens. */
  readonly uri: StreamAddress;
  /** The name expected in the destination's certificate, where the `uri` does not show it. */
  readonly host?: HostName;
  readonly capabilities: readonly string[];
  /** The address at which QEMU exports the mirrored disks over NBD, each by its name. */
  readonly storage?: StreamAddress;
  /** Where the source, and no other host, asks the destination how it ended; absent within one process. */
  readonly settle?: ConnectionUri;
  /** The host that answered; `journal` identifies its journal and is absent when the host does not report it. */
  readonly peer?: {
    readonly hostname: string;
    readonly journal?: string;
    /** The id under which that host knows the migration; version 2 has no Begin, so the host makes an id of its own. */
    readonly migrationId?: string;
  };
  /** libvirt's id of the waiting domain, by which the domain of a libvirtd is recognized later. */
  readonly incomingId?: number;
}

/**
 * The end of QEMU's migration; `none` when none had begun. `broken`: a post-copy without a connection, which never
 * ends.
 */
export type Ended = "cancelled" | "failed" | "completed" | "none" | "broken";

/** The end of a migration as QEMU reports it; `mark` distinguishes it from other migrations of the same QEMU. */
export interface MigrationEnd {
  readonly ended: Ended;
  readonly mark: string | null;
}

/** Ignores an end that was reported before this migration began (G3). */
export const ownEnd = ({ ended, mark }: MigrationEnd, earlier: string | null): Ended =>
  mark !== null && mark === earlier ? "none" : ended;

/** State of the source's migration after the engine was down; `stopped`: the guest is stopped for the switchover. */
export type SourceFound = "sending" | "stopped" | "preSwitchover" | "cancelling" | "postcopy" | Ended;
/**
 * State of the destination's migration after the engine was down; `runs`: the guest runs here already. `partly`: in
 * post-copy, with memory still to come; `broken`: a post-copy whose connection is lost.
 */
export type DestinationFound =
  | "listening"
  | "receiving"
  | "partly"
  | "received"
  | "failed"
  | "runs"
  | "runsPartly"
  | "runsBroken";

/**
 * Where the destination listens for a post-copy that lost its connection. `whole`: it has all of the guest's memory,
 * and the guest has not been handed over. `arrived`: it has taken the guest and has all of its memory. `lost`: its
 * copy is lost for good.
 */
export type Reconnection = { readonly uri: StreamAddress } | "whole" | "arrived" | "lost";

/**
 * State of QEMU's side in a new connection. `held`: it has sent everything over the lost connection and keeps that
 * connection, so it cannot accept a new one.
 */
export type Resumption = "connecting" | "held";

/** Settle's answer. Both are durable before they are given, and neither is ever revoked. */
export type Decision = "taken" | "refused";

/**
 * A decision, or that the destination's host cannot decide: it has lost or cannot read its record of the migration,
 * or its QEMU does not answer. That may change; until then only an operator can decide.
 */
export type Settled = Decision | "undecidable";

export interface Abort {
  readonly accepted: boolean;
  readonly why: string;
}

interface Report<Outcome> {
  readonly outcome: Outcome;
  readonly failures: readonly Failure[];
  /** Undo steps that this side completed, in order, one sentence each. */
  readonly undone: readonly string[];
}
export type SourceReport = Report<SourceOutcome>;
export type DestinationReport = Report<DestinationOutcome>;
