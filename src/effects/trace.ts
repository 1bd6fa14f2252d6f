// What is seen of a migration beside its records: effects and questions as they begin and end, the dialogue with QEMU's
// monitors, progress. For those who look on; no journal keeps it, and no decision rests on it.

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

/** An effect or a question begins; `call` counts those of one side. */
export interface CallSeen extends Seen {
  readonly kind: "call";
  readonly call: number;
  readonly place: EffectName | QuestionName;
}

/** The same, when it has been answered. */
export interface AnswerSeen extends Seen {
  readonly kind: "answer";
  readonly call: number;
  readonly place: EffectName | QuestionName;
  /** `unknown`: sent, and nobody has answered. `given up`: the machine has gone on without it. */
  readonly answer: Answer<unknown>["kind"] | "given up";
  /** The cause, or the value in short. */
  readonly says: string;
}

/** One line of the dialogue with a monitor. */
export interface LineSeen extends Seen, Omit<MonitorLine, "atMs"> {
  readonly kind: "line";
}

/** The memory stream and the copies of the disks. */
export interface ProgressSeen extends Seen {
  readonly kind: "progress";
  readonly progress: Progress;
  /** Whether memory converges, when, and with what pause. */
  readonly forecast: string;
}

/** A restarted engine has taken a side up; its beginning stands in the journal. */
export interface WokenSeen extends Seen {
  readonly kind: "woken";
  readonly identity: Identity;
}

/** All that can be seen of a migration, in the order in which it happens on each side. */
export type Observation = JournalRecord | WokenSeen | CallSeen | AnswerSeen | LineSeen | ProgressSeen;

/** What it throws is thrown as uncaught in a later turn, and harms no migration. */
export type Observe = (seen: Observation) => void;

/** XState 5's own protocol: its actors, their events and their snapshots. What it throws does no harm, as above. */
export type Inspect = Observer<InspectionEvent> | ((seen: InspectionEvent) => void);

export function inspecting(inspect: Inspect): (seen: InspectionEvent) => void {
  const observer = toObserver(inspect);
  return (seen) => apart(() => observer.next?.(seen));
}

/** Stands around a call from its beginning to its answer, whoever gives that. */
export type Watch = <T>(
  place: EffectName | QuestionName,
  /** Aborted when the machine waits no longer. */
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
