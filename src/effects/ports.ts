// The ports: what the engine needs from the outside, in its own words. Drivers implement them; the simulated world
// implements them too. Every answer is done, failed or unknown; only bugs throw.

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

/** What a monitor and a process tell, in the order in which they tell it. */
export type SourceFact = Extract<SourceEvent, { type: `monitor.${string}` | `process.${string}` }>;
export type DestinationFact = Extract<DestinationEvent, { type: `monitor.${string}` | `process.${string}` }>;

/** One line of the dialogue with QEMU. */
export interface MonitorLine {
  readonly monitor: "main" | "rescue";
  readonly direction: "sent" | "received";
  readonly atMs: number;
  /** As on the wire, cut to 500 characters. */
  readonly text: string;
}

interface MonitorTap {
  /** For those who look on: tells each line of the dialogue until the returned function is called. */
  onMonitorTraffic?(listener: (line: MonitorLine) => void): () => void;
}

/** The guest that leaves. Each call may be repeated; `signal` says that the machine no longer waits. */
export interface SourceGuest extends MonitorTap {
  /** Tells facts until the returned function is called. `process.exited` comes last, after all is cleaned up. */
  watch(listener: (fact: SourceFact) => void): () => void;
  describe(signal: AbortSignal): Promise<Answer<Described>>;
  /** What became of a migration that was under way when the engine was restarted. */
  probe(input: ProbeInput, signal: AbortSignal): Promise<Answer<SourceFound>>;
  /** Begins to copy; the facts `monitor.mirrored`, when every write follows, or `monitor.mirrorFailed` come later. */
  mirror(input: MirrorInput, signal: AbortSignal): Promise<Answer<null>>;
  /** The guest is stopped: done when the copies are equal and no longer follow. */
  completeMirrors(signal: AbortSignal): Promise<Answer<null>>;
  /** Done when nothing is left of the copying. */
  cancelMirrors(signal: AbortSignal): Promise<Answer<null>>;
  start(input: StartInput, signal: AbortSignal): Promise<Answer<null>>;
  setLimits(limits: Limits, signal: AbortSignal): Promise<Answer<null>>;
  /** The fact `monitor.postcopy` comes when it is certain that QEMU will not let its guest run here again by itself. */
  startPostcopy(signal: AbortSignal): Promise<Answer<null>>;
  /** In post-copy: gives the connection up; the fact `monitor.postcopyPaused` follows. */
  pausePostcopy(signal: AbortSignal): Promise<Answer<null>>;
  /** In post-copy: connects again; the fact `monitor.postcopy` follows when both QEMUs go on. */
  resumePostcopy(to: { readonly uri: StreamAddress }, signal: AbortSignal): Promise<Answer<Resumption>>;
  /** How much of the time the guest's processors are kept from running; only where `start` was told that it may be asked. */
  throttle(percent: number, signal: AbortSignal): Promise<Answer<null>>;
  /** Pauses the guest, without telling it as a person's pause. */
  suspend(signal: AbortSignal): Promise<Answer<null>>;
  continue(signal: AbortSignal): Promise<Answer<null>>;
  cancel(input: CancelInput, signal: AbortSignal): Promise<Answer<Ended>>;
  forceCancel(input: CancelInput, signal: AbortSignal): Promise<Answer<Ended>>;
  restore(input: RestoreInput, signal: AbortSignal): Promise<Answer<null>>;
  kill(signal: AbortSignal): Promise<Answer<null>>;
}

/** The guest that comes in. */
export interface DestinationGuest extends MonitorTap {
  watch(listener: (fact: DestinationFact) => void): () => void;
  prepare(input: PrepareInput, signal: AbortSignal): Promise<Answer<Prepared>>;
  /** What became of a stream that was coming in when the engine was restarted. */
  probe(signal: AbortSignal): Promise<Answer<DestinationFound>>;
  /** In post-copy: listens again after the connection was lost. */
  listenAgain(signal: AbortSignal): Promise<Answer<{ readonly uri: StreamAddress }>>;
  /** Unless it was paused before; its disks are its own from then on. */
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
  /** Idempotent: the decision, once said, never changes. */
  settle(identity: Identity, signal: AbortSignal): Promise<Answer<Settled>>;
  /** Says that the source's QEMU is dead for certain; the answer is the decision. */
  concede(identity: Identity, signal: AbortSignal): Promise<Answer<Settled>>;
  /** Post-copy may begin: from then on the destination gives the guest up only when its source says so. */
  announcePostcopy(identity: Identity, signal: AbortSignal): Promise<Answer<null>>;
  /** In post-copy: the source can run the guest no more, and serves its memory; the answer is the decision. */
  handOver(identity: Identity, signal: AbortSignal): Promise<Answer<Settled>>;
  /** In post-copy, when the connection is lost: asks the destination to listen again. */
  reconnect(identity: Identity, signal: AbortSignal): Promise<Answer<Reconnection>>;
}

/** The destination's side as the coordinator reaches it. */
export interface DestinationPeer {
  prepare(guest: GuestDescription, signal: AbortSignal): Promise<Answer<Prepared>>;
  finish(options: { cancelled: boolean }, signal: AbortSignal): Promise<Answer<DestinationReport>>;
}

/**
 * Decides between the sides when they cannot ask one another: a register that both reach, or a proof that the destination
 * is dead. Each call may be repeated. Once `claim` is done, `fence` is not, until `disclaim` is; and the other way round.
 */
export interface Fence {
  /** The source, in Begin: offers the guest; the answer is the token without which nobody can claim it. */
  offer(identity: Identity, signal: AbortSignal): Promise<Answer<string>>;
  /** The destination, before `cont`. `failed`: it is not, or no longer, offered. */
  claim(what: Fenced, signal: AbortSignal): Promise<Answer<null>>;
  /** The destination, when it could not run the guest: gives it back. */
  disclaim(what: Fenced, signal: AbortSignal): Promise<Answer<null>>;
  /** The source. Done: the destination can never claim the guest any more. `failed`: it has claimed it. */
  fence(what: Fenced, signal: AbortSignal): Promise<Answer<null>>;
  /** The source, when its own copy is gone: nothing of the migration has to be kept at the fence. Never fails. */
  release(what: Fenced): Promise<void>;
}

/** What a side was begun with; with it, and the state records, a restarted engine takes it up again. */
export type OpenedRecord = {
  readonly kind: "opened";
  readonly migrationId: string;
  readonly atMs: number;
  /** What the driver needs to find its QEMU again. */
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
  /** The event that led here. */
  readonly event: string;
  /** What has gone wrong on this side since its last record. */
  readonly because: readonly Failure[];
  /** What has been undone on this side since its last record. */
  readonly undone: readonly string[];
  /** What the machine has learned since its last record, of what it must know again after a crash. */
  readonly learned: Partial<SourceMemory & DestinationMemory & CoordinatorMemory>;
}
export interface AsideRecord {
  readonly kind: "aside";
  readonly migrationId: string;
  readonly side: Side;
  readonly atMs: number;
  readonly aside: Notice;
}
/** Somebody has asked how a migration ended that never came here: it never will. */
export interface TombstoneRecord {
  readonly kind: "tombstone";
  /** Absent in most: refused. */
  readonly decision?: Decision;
  readonly migrationId: string;
  readonly side: "destination";
  readonly atMs: number;
  /** The guest's, as the source said it; absent in the records of older versions. */
  readonly uuid?: string;
}
export type JournalRecord = OpenedRecord | StateRecord | AsideRecord | TombstoneRecord;

/** Write-ahead: a record is durable when `append` resolves, and no effect starts before its state's record is (G3). */
export interface Journal {
  append(record: JournalRecord): Promise<void>;
}

/** Time, and timers, from outside. `now` in milliseconds since 1970. */
export interface Clock {
  now(): number;
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(handle: unknown): void;
}

export interface Ids {
  /** A new uuid. */
  next(): string;
}
