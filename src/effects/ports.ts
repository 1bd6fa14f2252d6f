// The ports: the engine's requirements on its surroundings, in its own terms. Drivers implement them, and so does the
// simulated world. Every answer is done, failed or unknown; only bugs throw.

import type { CoordinatorInput, CoordinatorMemory } from "../machines/coordinator/machine.js";
import type {
  DestinationEvent,
  DestinationInput,
  DestinationMemory,
  PrepareInput,
} from "../machines/destination/machine.js";
import type { Notice } from "../machines/shared/actions.js";
import type {
  CancelInput,
  Described,
  MirrorInput,
  ProbeInput,
  RestoreInput,
  SourceEvent,
  SourceInput,
  SourceMemory,
  StartInput,
} from "../machines/source/machine.js";
import type { Limits } from "../protocol/convergence/limits.js";
import type { Answer } from "../protocol/effect-result.js";
import type { Failure } from "../protocol/failure.js";
import type {
  Abort,
  Decision,
  DestinationFound,
  DestinationReport,
  Ended,
  Fenced,
  GuestDescription,
  Identity,
  Prepared,
  Reconnection,
  Resumption,
  Settled,
  SourceFound,
  SourceReport,
} from "../protocol/messages.js";
import type { StreamAddress } from "../protocol/peer-text.js";
import type { Side } from "../protocol/steps.js";

/** Facts that a monitor and a process report, in their order. */
export type SourceFact = Extract<SourceEvent, { type: `monitor.${string}` | `process.${string}` }>;
export type DestinationFact = Extract<DestinationEvent, { type: `monitor.${string}` | `process.${string}` }>;

/** One line of a QMP session. */
export interface MonitorLine {
  readonly monitor: "main" | "rescue";
  readonly direction: "sent" | "received";
  readonly atMs: number;
  /** As on the wire, cut to 500 characters. */
  readonly text: string;
}

interface MonitorTap {
  /** Subscribes to monitor traffic; returns an unsubscribe function. */
  onMonitorTraffic?(listener: (line: MonitorLine) => void): () => void;
}

/** The source-side guest. Each call may be repeated; `signal` is aborted when the machine no longer waits. */
export interface SourceGuest extends MonitorTap {
  /**
   * Subscribes to facts; returns an unsubscribe function. `process.exited` is the last one, after all is cleaned up.
   */
  watch(listener: (fact: SourceFact) => void): () => void;
  describe(signal: AbortSignal): Promise<Answer<Described>>;
  /** Returns the state of a migration that was in progress when the engine was restarted. */
  probe(input: ProbeInput, signal: AbortSignal): Promise<Answer<SourceFound>>;
  /** Starts the disk mirrors; `monitor.mirrored` follows when they are in sync, or `monitor.mirrorFailed`. */
  mirror(input: MirrorInput, signal: AbortSignal): Promise<Answer<null>>;
  /** Called with the guest stopped: done when the mirrors are in sync and completed. */
  completeMirrors(signal: AbortSignal): Promise<Answer<null>>;
  /** Done when no mirror is left. */
  cancelMirrors(signal: AbortSignal): Promise<Answer<null>>;
  start(input: StartInput, signal: AbortSignal): Promise<Answer<null>>;
  setLimits(limits: Limits, signal: AbortSignal): Promise<Answer<null>>;
  /** `monitor.postcopy` follows when it is certain that QEMU will not resume its guest here by itself. */
  startPostcopy(signal: AbortSignal): Promise<Answer<null>>;
  /** In post-copy: drops the connection; `monitor.postcopyPaused` follows. */
  pausePostcopy(signal: AbortSignal): Promise<Answer<null>>;
  /** In post-copy: connects again; `monitor.postcopy` follows when both QEMUs continue. */
  resumePostcopy(to: { readonly uri: StreamAddress }, signal: AbortSignal): Promise<Answer<Resumption>>;
  /** Sets the share of time for which the vCPUs are stopped; only if `start` was told that it may be used. */
  throttle(percent: number, signal: AbortSignal): Promise<Answer<null>>;
  /** Suspends the guest, without reporting it as an operator's suspend. */
  suspend(signal: AbortSignal): Promise<Answer<null>>;
  continue(signal: AbortSignal): Promise<Answer<null>>;
  cancel(input: CancelInput, signal: AbortSignal): Promise<Answer<Ended>>;
  forceCancel(input: CancelInput, signal: AbortSignal): Promise<Answer<Ended>>;
  restore(input: RestoreInput, signal: AbortSignal): Promise<Answer<null>>;
  kill(signal: AbortSignal): Promise<Answer<null>>;
}

/** The destination-side guest. */
export interface DestinationGuest extends MonitorTap {
  watch(listener: (fact: DestinationFact) => void): () => void;
  prepare(input: PrepareInput, signal: AbortSignal): Promise<Answer<Prepared>>;
  /** Returns the state of a stream that was being received when the engine was restarted. */
  probe(signal: AbortSignal): Promise<Answer<DestinationFound>>;
  /** In post-copy: listens again after the connection was lost. */
  listenAgain(signal: AbortSignal): Promise<Answer<{ readonly uri: StreamAddress }>>;
  /** Resumes the guest unless it was paused before; its disks belong to this QEMU from then on. */
  resume(guest: GuestDescription, signal: AbortSignal): Promise<Answer<null>>;
  kill(signal: AbortSignal): Promise<Answer<null>>;
}

/** The source's side as the coordinator reaches it. */
export interface SourcePeer {
  begin(signal: AbortSignal): Promise<Answer<GuestDescription>>;
  perform(prepared: Prepared, signal: AbortSignal): Promise<Answer<null>>;
  abort(signal: AbortSignal): Promise<Answer<Abort>>;
  confirm(options: { cancelled: boolean }, signal: AbortSignal): Promise<Answer<SourceReport>>;
}

/** The destination as the source reaches it. */
export interface SettlingPeer {
  /** Idempotent: a decision, once given, never changes. */
  settle(identity: Identity, signal: AbortSignal): Promise<Answer<Settled>>;
  /** Reports that the source's QEMU is certainly dead; the answer is the decision. */
  concede(identity: Identity, signal: AbortSignal): Promise<Answer<Settled>>;
  /** Announces that post-copy may start: from then on the destination gives up only when its source tells it to. */
  announcePostcopy(identity: Identity, signal: AbortSignal): Promise<Answer<null>>;
  /** In post-copy: the source can no longer run the guest, and serves its memory; the answer is the decision. */
  handOver(identity: Identity, signal: AbortSignal): Promise<Answer<Settled>>;
  /** In post-copy, when the connection is lost: makes the destination listen again. */
  reconnect(identity: Identity, signal: AbortSignal): Promise<Answer<Reconnection>>;
}

/** The destination's side as the coordinator reaches it. */
export interface DestinationPeer {
  prepare(guest: GuestDescription, signal: AbortSignal): Promise<Answer<Prepared>>;
  finish(options: { cancelled: boolean }, signal: AbortSignal): Promise<Answer<DestinationReport>>;
}

/**
 * Decides between the sides when they cannot reach one another: a register that both can access, or a proof that the
 * destination is dead. Each call may be repeated. After a successful `claim`, `fence` fails until `disclaim`; after a
 * successful `fence`, `claim` fails.
 */
export interface Fence {
  /** Source, in Begin: offers the guest; the answer is the token that is required to claim it. */
  offer(identity: Identity, signal: AbortSignal): Promise<Answer<string>>;
  /** Destination, before `cont`. `failed`: the guest is not, or no longer, offered. */
  claim(what: Fenced, signal: AbortSignal): Promise<Answer<null>>;
  /** Destination, when it could not run the guest: releases the claim. */
  disclaim(what: Fenced, signal: AbortSignal): Promise<Answer<null>>;
  /** Source. Done: the destination can never claim the guest. `failed`: it has already claimed it. */
  fence(what: Fenced, signal: AbortSignal): Promise<Answer<null>>;
  /** Source, when its own copy is gone: the fence may forget the migration. Never fails. */
  release(what: Fenced): Promise<void>;
}

/** The input with which a side was started; together with the state records a restarted engine resumes it. */
export type OpenedRecord = {
  readonly kind: "opened";
  readonly migrationId: string;
  readonly atMs: number;
  /** The data by which the driver finds its QEMU again. */
  readonly host: unknown;
} & (
  | { readonly side: "source"; readonly input: Omit<SourceInput, "woken"> }
  | { readonly side: "destination"; readonly input: Omit<DestinationInput, "woken"> }
  | { readonly side: "coordinator"; readonly input: Omit<CoordinatorInput, "woken"> }
);

/** One line of a migration's story. `state` is XState's value: a name, or nested names. */
export interface StateRecord {
  readonly kind: "state";
  readonly migrationId: string;
  readonly side: Side;
  /** Milliseconds since 1970, by the clock port. */
  readonly atMs: number;
  readonly state: string;
  /** The event that led to this state. */
  readonly event: string;
  /** Failures on this side since its last record. */
  readonly because: readonly Failure[];
  /** Undo steps completed on this side since its last record. */
  readonly undone: readonly string[];
  /** Changes since the last record to the knowledge that must survive a crash. */
  readonly learned: Partial<SourceMemory & DestinationMemory & CoordinatorMemory>;
}
export interface AsideRecord {
  readonly kind: "aside";
  readonly migrationId: string;
  readonly side: Side;
  readonly atMs: number;
  readonly aside: Notice;
}
/** A host was asked about a migration that never reached it, and has recorded that it never will. */
export interface TombstoneRecord {
  readonly kind: "tombstone";
  /** Absent means refused, as in most records. */
  readonly decision?: Decision;
  readonly migrationId: string;
  readonly side: "destination";
  readonly atMs: number;
  /** The guest's uuid as the source gave it; absent in records of older versions. */
  readonly uuid?: string;
}
export type JournalRecord = OpenedRecord | StateRecord | AsideRecord | TombstoneRecord;

/**
 * Write-ahead: a record is durable when `append` resolves, and no effect starts before its state's record is durable
 * (G3).
 */
export interface Journal {
  append(record: JournalRecord): Promise<void>;
}

/** Provides time and timers. `now` returns milliseconds since 1970. */
export interface Clock {
  now(): number;
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(handle: unknown): void;
}

export interface Ids {
  /** Returns a new uuid. */
  next(): string;
}
