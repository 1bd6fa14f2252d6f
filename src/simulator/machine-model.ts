// One machine in the simulated world, and all the standings it was ever found in. It runs the real machine by XState's
// pure `transition`, so nothing happens that the world has not chosen. What a machine does in a standing on an event
// never changes: it is computed once and remembered, which is what makes the search fast.

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

/** Everything that decides what a machine does next. Equal ids: equal behaviour from here on. */
export interface MachineState {
  readonly id: number;
  readonly side: Side;
  readonly state: string;
  readonly snapshot: AnyMachineSnapshot;
  readonly ended: boolean;
  /** Whether it says that the guest has been taken. */
  readonly taken: boolean;
  /** Effects that have begun and not ended, with their input. */
  readonly effects: ReadonlyMap<string, unknown>;
  readonly timers: ReadonlyMap<string, EventObject>;
  readonly steps: Map<string, Step>;
}

/** What an event did: where the machine stands then, and what it asks. */
export interface Step {
  readonly to: MachineState;
  /** Questions that set out, and questions that nobody waits for any more. */
  readonly asked: readonly Question[];
  readonly unasked: readonly Question[];
  /** The event; null when it was begun, or begun again. */
  readonly event: EventObject | null;
  /** With what it was begun. */
  readonly input?: object;
  /** The effect that it ended, and with what. */
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
  /** By state at the top: whether anything in it depends on the number of attempts. */
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

  /** `answerKey` is equal for answers that make no difference to the machine. */
  complete(from: MachineState, effect: string, output: unknown, answerKey: string): Step {
    const event = { type: `xstate.done.actor.${effect}`, output, actorId: effect };
    return this.#step(from, `${effect} ${answerKey}`, event, { effect, answer: answerKey });
  }

  fire(from: MachineState, timer: string): Step {
    const event = from.timers.get(timer);
    if (event === undefined) throw new Error(`${from.state} has no timer ${timer}`);
    return this.#step(from, timer, event);
  }

  /** The engine has died, and another has taken the machine up from its journal; its effects are begun anew. */
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
   * The step of one run of its own. What no decision rests on, such as failures, is told by it alone: in the standings it is
   * that of whoever was there first.
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
   * Left out because no decision rests on it: progress figures, failures, what was undone. The failures do tell an abort
   * from a failure in the end; the guest stays either way.
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

/** What of the three contexts decides. The names are the machines' own: one that is not there does not compile. */
type SearchedContext = Pick<SourceContext, "prepared" | "attempts" | "convergence" | "measures" | "history"> &
  Pick<DestinationContext, "memory" | "deferred"> &
  Pick<CoordinatorContext, "source" | "destination"> & {
    readonly guest: unknown;
    readonly reconnection: unknown;
    readonly postcopy: (SourceContext | DestinationContext)["postcopy"];
  };

type Measured = Pick<SearchedContext, "convergence" | "measures" | "history">;

/** Elsewhere nothing rests on the convergence policy, and no way leads back from there. */
const mayTakeMeasures: ReadonlySet<string> = new Set(["starting", "probing", "precopying"]);

/** What decides which measures are taken: the rules that were, and those whose time has come. */
function measuresOf({ convergence, measures = [], history = emptyHistory }: Partial<Measured>): unknown {
  if (convergence === undefined || convergence.length === 0) return 0;
  return [measures.map((measure) => [measure.rule, measure.step]).sort(), latest(history)?.elapsedMs ?? 0];
}

/** Whether a guard in it, or below, looks at the number of attempts. */
const countsAttempts = (node: AnyStateNode): boolean =>
  [...node.transitions.values()].flat().some(({ guard }) => guard === "outOfAttempts") ||
  Object.values(node.states as Record<string, AnyStateNode>).some(countsAttempts);
