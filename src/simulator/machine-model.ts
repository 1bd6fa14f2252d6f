// A machine with its memoized reachable states in the simulated world. It runs the real machine with XState's pure `transition`,
// so that only moves of the world take effect. The reaction of a machine to an event in a state is deterministic: it is computed
// once and cached, which makes the search fast.

import {
  type AnyMachineSnapshot,
  type AnyStateMachine,
  type AnyStateNode,
  type EventObject,
  initialTransition,
  transition,
} from "xstate";
import { persistedKeys } from "../effects/recorder.js";
import type { CoordinatorContext } from "../machines/coordinator/setup.js";
import type { DestinationContext } from "../machines/destination/setup.js";
import type { Woken } from "../machines/shared/actions.js";
import { namedStatesOf, stateName } from "../machines/shared/walk.js";
import type { SourceContext } from "../machines/source/setup.js";
import { emptyHistory, latest } from "../protocol/convergence/forecast.js";
import { maxAttempts } from "../protocol/deadlines.js";
import type { Side } from "../protocol/steps.js";
import { type Question, questionsOf } from "./question.js";

/** Everything that determines the future behaviour of a machine. Equal ids mean equal behaviour. */
export interface MachineState {
  readonly id: number;
  readonly side: Side;
  readonly state: string;
  readonly snapshot: AnyMachineSnapshot;
  readonly ended: boolean;
  /** True when the machine answers that it has taken the guest. */
  readonly taken: boolean;
  /** The effects in progress, with their input. */
  readonly effects: ReadonlyMap<string, unknown>;
  readonly timers: ReadonlyMap<string, EventObject>;
  readonly steps: Map<string, Step>;
}

/** The result of an event: the next state of the machine and the requests that it sends. */
export interface Step {
  readonly to: MachineState;
  /** New requests, and requests whose answer is no longer awaited. */
  readonly asked: readonly Question[];
  readonly unasked: readonly Question[];
  /** The event; null when the machine was started or restarted. */
  readonly event: EventObject | null;
  /** The input with which the machine was started. */
  readonly input?: object;
  /** The effect that the event completed, and its answer. */
  readonly answered?: { readonly effect: string; readonly answer: string };
}

type Actions = readonly { readonly type: string; readonly params: unknown }[];
interface Action {
  readonly id: string;
  readonly input?: unknown;
  readonly delay?: number;
  readonly event: EventObject;
  readonly sendId: string;
}

export class Species {
  readonly side: Side;
  readonly first: Step;
  readonly #logic: AnyStateMachine;
  readonly #input: object;
  readonly #known = new Map<string, MachineState>();
  /** For each top-level state: whether anything in it depends on the number of attempts. */
  readonly #counts: ReadonlyMap<string, boolean>;

  constructor(side: Side, logic: AnyStateMachine, input: object) {
    this.side = side;
    this.#logic = logic;
    this.#input = input;
    this.#counts = new Map(
      namedStatesOf(logic).map((namedState) => [
        namedState.key,
        side === "coordinator" || countsAttempts(namedState),
      ]),
    );
    this.first = this.#begin(input);
  }

  send(from: MachineState, event: EventObject): Step {
    return this.#step(from, event.type, event);
  }

  /** `answerKey` is equal for answers that the machine does not distinguish. */
  complete(from: MachineState, effect: string, output: unknown, answerKey: string): Step {
    const event = { type: `xstate.done.actor.${effect}`, output, actorId: effect };
    return this.#step(from, `${effect} ${answerKey}`, event, { effect, answer: answerKey });
  }

  fire(from: MachineState, timer: string): Step {
    const event = from.timers.get(timer);
    if (event === undefined) throw new Error(`state ${from.state} does not have a timer ${timer}`);
    return this.#step(from, timer, event);
  }

  /** Restarts the machine from its journal after the death of its engine; its effects are started again. */
  wake(from: MachineState, lastRecorded = from.state): Step {
    const key = `wake ${lastRecorded}`;
    let step = from.steps.get(key);
    if (step === undefined) {
      const { context } = from.snapshot;
      const memory = Object.fromEntries(persistedKeys[this.side].map((name) => [name, context[name]]));
      const woken: Woken = { state: lastRecorded, failures: [], undone: [] };
      const begun = this.#begin({ ...this.#input, woken: { ...woken, memory } });
      step = { ...begun, unasked: questionsOf(from.effects.keys()) };
      from.steps.set(key, step);
    }
    return step;
  }

  /**
   * Repeats a step for one particular run. Data that no decision depends on, such as failures, is accurate only here: a cached
   * state holds that of the first run that reached it.
   */
  rerun(snapshot: AnyMachineSnapshot | null, { event, input }: Step): AnyMachineSnapshot {
    if (event === null || snapshot === null)
      return initialTransition(this.#logic, input)[0] as AnyMachineSnapshot;
    return transition(this.#logic, snapshot, event)[0] as AnyMachineSnapshot;
  }

  #begin(input: object): Step {
    const [snapshot, actions] = initialTransition(this.#logic, input);
    return {
      ...this.#follow(null, snapshot as AnyMachineSnapshot, actions, new Map(), new Map()),
      input,
    };
  }

  #step(from: MachineState, key: string, event: EventObject, answered?: Step["answered"]): Step {
    let step = from.steps.get(key);
    if (step === undefined) {
      const [snapshot, actions] = transition(this.#logic, from.snapshot, event);
      const timers = new Map(from.timers);
      for (const [id, timer] of timers) if (timer.type === event.type) timers.delete(id);
      const effects = new Map(from.effects);
      if (answered !== undefined) effects.delete(answered.effect);
      step = this.#follow(event, snapshot as AnyMachineSnapshot, actions, effects, timers);
      if (answered !== undefined)
        step = { ...step, answered, unasked: [...questionsOf([answered.effect]), ...step.unasked] };
      from.steps.set(key, step);
    }
    return step;
  }

  #follow(
    event: EventObject | null,
    snapshot: AnyMachineSnapshot,
    actions: Actions,
    effects: Map<string, unknown>,
    timers: Map<string, EventObject>,
  ): Step {
    const began: string[] = [];
    const stopped: string[] = [];
    for (const { type, params } of actions) {
      const action = params as Action;
      if (type === "xstate.spawnChild" && action.id !== "watch") {
        effects.set(action.id, action.input);
        began.push(action.id);
      } else if (type === "xstate.stopChild") {
        effects.delete(action.id);
        stopped.push(action.id);
      } else if (type === "xstate.raise" && action.delay !== undefined) timers.set(action.id, action.event);
      else if (type === "xstate.cancel") timers.delete(action.sendId);
    }
    if (snapshot.status !== "active") {
      stopped.push(...effects.keys());
      effects.clear();
      timers.clear();
    }
    return {
      to: this.#standing(snapshot, effects, timers),
      asked: questionsOf(began),
      unasked: questionsOf(stopped),
      event,
    };
  }

  #standing(
    snapshot: AnyMachineSnapshot,
    effects: ReadonlyMap<string, unknown>,
    timers: ReadonlyMap<string, EventObject>,
  ): MachineState {
    const key = this.#keyOf(snapshot, effects, timers);
    let standing = this.#known.get(key);
    if (standing === undefined) {
      const id = this.#known.size;
      const state = stateName(snapshot);
      const ended = snapshot.status !== "active";
      const taken = snapshot.hasTag("taken");
      standing = { id, side: this.side, state, snapshot, ended, taken, effects, timers, steps: new Map() };
      this.#known.set(key, standing);
    }
    return standing;
  }

  /**
   * Omits data that no decision depends on: progress, failures, undone effects. In the end the failures distinguish an abort from
   * a failure, but the guest stays either way.
   */
  #keyOf(
    snapshot: AnyMachineSnapshot,
    effects: ReadonlyMap<string, unknown>,
    timers: ReadonlyMap<string, EventObject>,
  ): string {
    const { status, output } = snapshot;
    const context: Partial<SearchedContext> = snapshot.context;
    const { guest, prepared, attempts = 0, source, destination } = context;
    const { memory, reconnection, postcopy, deferred = [] } = context;
    const state = stateName(snapshot);
    const top = /^\w*/.exec(state)?.[0] ?? "";
    return JSON.stringify([
      state,
      status,
      guest !== null,
      prepared !== null,
      memory ?? null,
      deferred,
      (reconnection ?? null) !== null,
      postcopy === "announced",
      this.#counts.get(top) === true && state !== top ? Math.min(attempts, maxAttempts) : 0,
      source?.outcome ?? null,
      destination?.outcome ?? null,
      mayTakeMeasures.has(top) ? measuresOf(context) : 0,
      output?.outcome ?? (output?.kind === "aborted" ? "stayed" : (output?.kind ?? null)),
      [...effects.keys()].sort(),
      [...timers.keys()].sort(),
    ]);
  }
}

/** The members of the three contexts that affect decisions. The names are the machines' own: an unknown one does not compile. */
type SearchedContext = Pick<SourceContext, "prepared" | "attempts" | "convergence" | "measures" | "history"> &
  Pick<DestinationContext, "memory" | "deferred"> &
  Pick<CoordinatorContext, "source" | "destination"> & {
    readonly guest: unknown;
    readonly reconnection: unknown;
    readonly postcopy: (SourceContext | DestinationContext)["postcopy"];
  };

type Measured = Pick<SearchedContext, "convergence" | "measures" | "history">;

/** Other states do not depend on the convergence policy, and no transition leads back from them. */
const mayTakeMeasures: ReadonlySet<string> = new Set(["starting", "probing", "precopying"]);

/** The data that determines the next measures: the applied rules, and the elapsed time. */
function measuresOf({ convergence, measures = [], history = emptyHistory }: Partial<Measured>): unknown {
  if (convergence === undefined || convergence.length === 0) return 0;
  return [measures.map((measure) => [measure.rule, measure.step]).sort(), latest(history)?.elapsedMs ?? 0];
}

/** Returns whether a guard of the state or of its descendants depends on the number of attempts. */
const countsAttempts = (node: AnyStateNode): boolean =>
  [...node.transitions.values()].flat().some(({ guard }) => guard === "outOfAttempts") ||
  Object.values(node.states as Record<string, AnyStateNode>).some(countsAttempts);
