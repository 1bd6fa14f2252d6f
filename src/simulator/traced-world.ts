// Runs the simulated world and records a story in the same format as a real migration: records, calls and their answers, and the
// moves that caused them. The inspector shows both in the same way. The world has no clock: each move takes one millisecond.

import type { AnyMachineSnapshot, EventObject } from "xstate";
import type { OpenedRecord } from "../effects/ports.js";
import { persistedKeys } from "../effects/recorder.js";
import type { Observation } from "../effects/trace.js";
import { defaultLimits } from "../protocol/convergence/limits.js";
import { defaultDeadlines } from "../protocol/deadlines.js";
import type { EffectName, QuestionName, Side } from "../protocol/steps.js";
import { defaultPolicy } from "../protocol/unreachable-policy.js";
import type { Counterexample } from "./counterexample.js";
import { describedAs, identity } from "./effect-model.js";
import type { MachineState, Step } from "./machine-model.js";
import { replyTo } from "./messages.js";
import { answerKey } from "./network.js";
import { questionsOf } from "./question.js";
import type { Move } from "./rules.js";
import { BrokenGuarantee, movesOf, World, type WorldOptions } from "./world.js";

/** A move; the entries that follow are its consequences. */
export interface MoveSeen {
  readonly kind: "move";
  readonly migrationId: string;
  readonly side: Side;
  readonly atMs: number;
  readonly fault: boolean;
  readonly says: string;
}
export type Told = Observation | MoveSeen;

const { migrationId } = identity;

export class ToldWorld {
  readonly world: World;
  readonly entries: Told[] = [];
  /** The guarantee that a move violated; the world ends there. */
  broken: string | null = null;
  readonly #options: WorldOptions;
  readonly #calls = new Map<string, number>();
  readonly #snapshots: Partial<Record<Side, AnyMachineSnapshot | null>> = {};
  #atMs = 0;

  constructor(faults: number, options: WorldOptions = {}) {
    this.world = new World(faults, options);
    this.#options = options;
    const { source, coordinator } = movesOf(options).rules;
    this.#enter(null, source.first);
    this.#enter(null, coordinator.first);
  }

  /** Replays moves by name until one does not exist in the world; returns the name of that move in `missing`. */
  static replay({ faults, world, moves }: Pick<Counterexample, "faults" | "world" | "moves">): {
    readonly told: ToldWorld;
    readonly missing: string | null;
  } {
    const told = new ToldWorld(faults, world);
    for (const name of moves) {
      const move = told.moves().find((candidate) => candidate.name === name);
      if (move === undefined) return { told, missing: name };
      told.take(move);
    }
    return { told, missing: null };
  }

  moves(): Move[] {
    return this.broken === null ? this.world.moves() : [];
  }

  take(move: Move): void {
    const before = this.world.state;
    this.#atMs += 1;
    const { name: says, fault } = move;
    const side =
      (["source", "destination", "coordinator"] as const).find((candidate) => says.includes(candidate)) ??
      "coordinator";
    this.#tell({ kind: "move", ...this.#of(side), fault, says });
    for (const step of move.change.steps ?? []) this.#enter(before[step.to.side], step);
    try {
      this.world.take(move);
    } catch (error) {
      if (!(error instanceof BrokenGuarantee)) throw error;
      this.broken = error.counterexample.broken;
    }
  }

  #of = (side: Side) => ({ migrationId, side, atMs: this.#atMs });

  #tell(entry: Told): void {
    this.entries.push(entry);
  }

  #enter(before: MachineState | null, step: Step): void {
    const { to, event, answered } = step;
    const { side } = to;
    const known = before === null ? null : (this.#snapshots[side] ?? null);
    // A dead client does not make steps.
    const now =
      event?.type === "died" ? known : movesOf(this.#options).rules[side].rerun(known, this.#asHere(step));
    this.#snapshots[side] = now;
    if (before === null) this.#tell(this.#opened(side));
    for (const effect of before?.effects.keys() ?? []) {
      const isAnswered = answered?.effect === effect;
      if (isAnswered) this.#answer(side, effect, answered.answer);
      else if (!to.effects.has(effect)) this.#answer(side, effect, "given up");
    }
    const context = now?.context ?? {};
    const { failures = [], undone = [] } = context;
    const told = event === null ? undefined : known?.context;
    const name = event?.type ?? (before === null ? "opened" : "engine.restarted");
    this.#tell({
      kind: "state",
      ...this.#of(side),
      state: to.state,
      event: name,
      because: failures.slice(told?.failures?.length ?? 0),
      undone: undone.slice(told?.undone?.length ?? 0),
      learned: Object.fromEntries(
        persistedKeys[side].filter((key) => context[key] !== told?.[key]).map((key) => [key, context[key]]),
      ),
    });
    for (const effect of to.effects.keys())
      if (before?.effects.has(effect) !== true || answered?.effect === effect) this.#call(side, effect);
  }

  /** Repeats the step with the answer of this run, so that reported failures belong to this run too. */
  #asHere(step: Step): Step {
    const { source, destination } = this.#snapshots;
    const { event, answered } = step;
    const [question] = questionsOf(answered === undefined ? [] : [answered.effect]);
    if (event === null || question === undefined || !source) return step;
    const output = replyTo(question, { source, destination: destination ?? undefined });
    return output === undefined || answerKey(output) !== answered?.answer
      ? step
      : { ...step, event: { ...event, output } as EventObject };
  }

  #call(side: Side, effect: string): void {
    const call = (this.#calls.get(side) ?? 0) + 1;
    this.#calls.set(side, call);
    this.#calls.set(`${side} ${effect}`, call);
    this.#tell({ kind: "call", ...this.#of(side), call, place: effect as EffectName | QuestionName });
  }

  #answer(side: Side, effect: string, says: string): void {
    const call = this.#calls.get(`${side} ${effect}`) ?? 0;
    const answer = says === "failed" || says === "unknown" || says === "given up" ? says : "done";
    this.#tell({
      kind: "answer",
      ...this.#of(side),
      call,
      place: effect as EffectName | QuestionName,
      answer,
      says,
    });
  }

  #opened(side: Side): OpenedRecord {
    const { policy = defaultPolicy, storage = false } = this.#options;
    const both = { identity, deadlines: defaultDeadlines };
    const guest = describedAs(storage, policy.whenUnreachable === "fence");
    const opened = { kind: "opened", ...this.#of(side), host: null } as const;
    switch (side) {
      case "source":
        return { ...opened, side, input: { ...both, limits: defaultLimits, policy } };
      case "destination":
        return { ...opened, side, input: { ...both, guest } };
      case "coordinator":
        return { ...opened, side, input: both };
    }
  }
}
