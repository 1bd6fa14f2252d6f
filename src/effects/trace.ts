// Observations of a migration that are not records: effects and questions as they begin and end, traffic of QEMU's
// monitors, progress. They serve observers only: no journal stores them, and no decision depends on them.

import { type InspectionEvent, type Observer, toObserver } from "xstate";
import type { Progress } from "../protocol/convergence/limits.js";
import type { Answer } from "../protocol/effect-result.js";
import type { Identity } from "../protocol/messages.js";
import type { EffectName, QuestionName, Side } from "../protocol/steps.js";
import { apart } from "./isolate-callback.js";
import type { Clock, JournalRecord, MonitorLine } from "./ports.js";

interface Seen {
  readonly migrationId: string;
  readonly side: Side;
  /** Milliseconds since 1970, by the clock port. */
  readonly atMs: number;
}

/** The start of an effect or a question; `call` counts those of one side. */
export interface CallSeen extends Seen {
  readonly kind: "call";
  readonly call: number;
  readonly place: EffectName | QuestionName;
}

/** The answer to an effect or a question. */
export interface AnswerSeen extends Seen {
  readonly kind: "answer";
  readonly call: number;
  readonly place: EffectName | QuestionName;
  /** `unknown`: sent, but not answered. `given up`: the machine has continued without an answer. */
  readonly answer: Answer<unknown>["kind"] | "given up";
  /** The cause, or a short form of the value. */
  readonly says: string;
}

/** One line of a monitor's traffic. */
export interface LineSeen extends Seen, Omit<MonitorLine, "atMs"> {
  readonly kind: "line";
}

/** Progress of the memory stream and the disk mirrors. */
export interface ProgressSeen extends Seen {
  readonly kind: "progress";
  readonly progress: Progress;
  /** Whether memory converges, when, and with what downtime. */
  readonly forecast: string;
}

/** A restarted engine has resumed a side; the record of its start is in the journal. */
export interface WokenSeen extends Seen {
  readonly kind: "woken";
  readonly identity: Identity;
}

/** All observations of a migration, in the order in which they happen on each side. */
export type Observation = JournalRecord | WokenSeen | CallSeen | AnswerSeen | LineSeen | ProgressSeen;

/** An exception is rethrown asynchronously and cannot affect the migration. */
export type Observe = (seen: Observation) => void;

/** XState 5's inspection protocol: its actors, their events and snapshots. An exception is isolated as above. */
export type Inspect = Observer<InspectionEvent> | ((seen: InspectionEvent) => void);

export function inspecting(inspect: Inspect): (seen: InspectionEvent) => void {
  const observer = toObserver(inspect);
  return (seen) => apart(() => observer.next?.(seen));
}

/** Wraps a call from its start to its answer. */
export type Watch = <T>(
  place: EffectName | QuestionName,
  /** Aborted when the machine no longer waits. */
  signal: AbortSignal,
  call: () => Promise<Answer<T>>,
) => Promise<Answer<T>>;

export function watching(observe: Observe, of: Pick<Seen, "migrationId" | "side">, clock: Clock): Watch {
  let calls = 0;
  return async (place, signal, run) => {
    calls += 1;
    const call = calls;
    const tell = (seen: Observation) => apart(() => observe(seen));
    tell({ kind: "call", ...of, atMs: clock.now(), call, place });
    const answered = await run();
    const answer = signal.aborted ? "given up" : answered.kind;
    const says = answered.kind === "done" ? inShort(answered.value) : answered.cause.message;
    tell({ kind: "answer", ...of, atMs: clock.now(), call, place, answer, says });
    return answered;
  };
}

function inShort(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value !== "object") return String(value);
  if ("outcome" in value) return String(value.outcome);
  if ("accepted" in value)
    return value.accepted === true || !("why" in value) ? "accepted" : `refused: ${value.why}`;
  return "uri" in value ? String(value.uri) : "";
}

const recordKinds: readonly string[] = [
  "opened",
  "state",
  "aside",
  "tombstone",
] satisfies JournalRecord["kind"][];

export const isRecord = (seen: { readonly kind: string }): seen is JournalRecord =>
  recordKinds.includes(seen.kind);
