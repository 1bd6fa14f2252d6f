// What the five steps and settle ask and answer. Data that crosses hosts: plain, small, versioned by the driver that carries it.

import type { Failure } from "./failure.js";
import type { DestinationOutcome, SourceOutcome } from "./outcomes.js";
import type { ConnectionUri, HostName, StreamAddress } from "./peer-text.js";

/** Names one migration of one guest; every question carries it, so that a late or repeated message is known. */
export interface Identity {
  /** Unique to this migration. */
  readonly migrationId: string;
  /** The guest's uuid, as in libvirt's domain XML. */
  readonly uuid: string;
  readonly name: string;
}

/** Whether the guest's processors ran before the migration; a paused guest stays paused wherever it ends. */
export type GuestWas = "running" | "paused";

/** A disk whose contents travel with the guest, because the hosts do not share it. */
export interface CopiedDisk {
  /** The same on both sides: of QEMU's device, or of its drive. */
  readonly name: string;
  readonly capacityBytes: number;
}

/** Begin's answer, which Prepare gets: what the destination must match. */
export interface GuestDescription {
  readonly uuid: string;
  readonly guestWas: GuestWas;
  readonly qemuVersion: string;
  readonly memoryBytes: number;
  /** Migration capabilities that the source's QEMU knows. */
  readonly capabilities: readonly string[];
  /** To be copied; empty when all storage is shared. */
  readonly disks: readonly CopiedDisk[];
  /** What the destination must show at the fence before it runs the guest; null without a fence. */
  readonly fencingToken: string | null;
}

/** What the fence is asked about. */
export interface Fenced {
  readonly identity: Identity;
  readonly token: string;
}

/** QEMU's migration settings as they were before us, for when the guest stays. */
export interface Settings {
  readonly capabilities: Readonly<Record<string, boolean>>;
  readonly parameters: Readonly<Record<string, number | string>>;
}

/** Prepare's answer, which Perform gets. */
export interface Prepared {
  /** Where QEMU listens. */
  readonly uri: StreamAddress;
  /** Whose certificate is to be expected there, where the `uri` does not tell. */
  readonly host?: HostName;
  readonly capabilities: readonly string[];
  /** Where QEMU exports the disks that are copied over NBD, each by its name. */
  readonly storage?: StreamAddress;
  /** Where the source asks the destination, and nobody else, how it ended; absent within one process. */
  readonly settle?: ConnectionUri;
  /** The host that answered; `journal` identifies its memory of migrations, absent when it does not tell. */
  readonly peer?: {
    readonly hostname: string;
    readonly journal?: string;
    /** The id under which that host knows the migration; by version 2, which has no Begin, it makes one of its own. */
    readonly migrationId?: string;
  };
  /** libvirt's id of the domain that waits there, by which a libvirtd's is known again. */
  readonly incomingId?: number;
}

/** How QEMU's migration ended; `none` when none had begun. `broken`: in post-copy without a connection it never ends. */
export type Ended = "cancelled" | "failed" | "completed" | "none" | "broken";

/** The end of a migration as QEMU answers it; `mark` tells it from that of another migration of the same QEMU. */
export interface MigrationEnd {
  readonly ended: Ended;
  readonly mark: string | null;
}

/** An end that was there before this migration began is not this migration's (G3). */
export const ownEnd = ({ ended, mark }: MigrationEnd, earlier: string | null): Ended =>
  mark !== null && mark === earlier ? "none" : ended;

/** What became of the source's migration while the engine was down; `stopped`: the guest is stopped for the switchover. */
export type SourceFound = "sending" | "stopped" | "preSwitchover" | "cancelling" | "postcopy" | Ended;
/**
 * The same at the destination; `runs`: the guest runs here already. `partly`: in post-copy, with memory still to come;
 * `broken`: over a connection that is lost.
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
 * Where the destination listens for a post-copy that has lost its connection. `whole`: it has all of the guest's memory, and
 * the guest has not been handed over. `arrived`: it has taken the guest, and has all of its memory. `lost`: its copy is gone
 * for good.
 */
export type Reconnection = { readonly uri: StreamAddress } | "whole" | "arrived" | "lost";

/**
 * What became of QEMU's part in a new connection. `held`: it has sent everything over the connection that is lost, and does
 * not give that one up, so that it can take no new one.
 */
export type Resumption = "connecting" | "held";

/** What settle answers. Both are durable before they are said, and neither is ever taken back. */
export type Decision = "taken" | "refused";

/**
 * A decision, or that the destination's host cannot say: it has lost or cannot read what it recorded of the migration, or
 * its QEMU does not answer. That may change; until then only an operator can decide.
 */
export type Settled = Decision | "undecidable";

export interface Abort {
  readonly accepted: boolean;
  readonly why: string;
}

interface Report<Outcome> {
  readonly outcome: Outcome;
  readonly failures: readonly Failure[];
  /** What this side has undone, in order, one sentence each. */
  readonly undone: readonly string[];
}
export type SourceReport = Report<SourceOutcome>;
export type DestinationReport = Report<DestinationOutcome>;
