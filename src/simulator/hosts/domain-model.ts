// The domain machine of one host in the host world, with its memoized reachable states. It runs the real machine with XState's
// pure `transition`: the reaction to an event in a state is computed once and cached.

import { type AnyMachineSnapshot, type AnyStateMachine, initialTransition, transition } from "xstate";
import type { DomainEvent, DomainInput } from "../../machines/domain/context.js";
import { stateName } from "../../machines/shared/walk.js";

export interface DomainMachineState {
  readonly state: string;
  readonly snapshot: AnyMachineSnapshot;
  readonly away: boolean;
  readonly migrationId: string | null;
  /** Effects in progress. */
  readonly effects: ReadonlySet<string>;
  readonly quarantined: boolean;
  readonly steps: Map<string, DomainStep>;
}

export interface DomainStep {
  readonly to: DomainMachineState;
  /** The machine rejected the event with a reason. */
  readonly refused: boolean;
}

/** The part of an action returned by `transition` that is used here. */
type Action = { readonly type: string; readonly params: unknown };
const idIn = (params: unknown): string =>
  typeof params === "object" && params !== null && "id" in params ? String(params.id) : "";
const emittedIn = (params: unknown): unknown =>
  typeof params === "object" && params !== null && "event" in params ? params.event : undefined;
const isRefusal = ({ type, params }: Action): boolean => {
  const emitted = emittedIn(params);
  return (
    type === "xstate.emit" &&
    typeof emitted === "object" &&
    emitted !== null &&
    "type" in emitted &&
    emitted.type === "refused"
  );
};

export class DomainSpecies {
  readonly #logic: AnyStateMachine;
  readonly #known = new Map<string, DomainMachineState>();

  constructor(logic: AnyStateMachine) {
    this.#logic = logic;
  }

  begin(input: Omit<DomainInput, "uuid">): DomainMachineState {
    const [snapshot, actions] = initialTransition(this.#logic, { ...input, uuid: "guest" });
    return this.#standing(snapshot, effectsAfter(new Set(), actions));
  }

  send(from: DomainMachineState, event: DomainEvent): DomainStep {
    return this.#step(from, JSON.stringify(event), event);
  }

  /** Completes an effect in progress. */
  complete(from: DomainMachineState, effect: string, done: boolean): DomainMachineState {
    const output = done
      ? { kind: "done", value: null }
      : { kind: "failed", cause: { code: "failed", message: "the disk is full" } };
    const event = { type: `xstate.done.actor.${effect}`, output, actorId: effect };
    return this.#step(from, `${effect} ${done}`, event, effect).to;
  }

  #step(from: DomainMachineState, key: string, event: { type: string }, ended?: string): DomainStep {
    const known = from.steps.get(key);
    if (known !== undefined) return known;
    const [snapshot, actions] = transition(this.#logic, from.snapshot, event);
    const before = new Set(from.effects);
    if (ended !== undefined) before.delete(ended);
    const to = this.#standing(snapshot, effectsAfter(before, actions));
    const step = { to, refused: actions.some(isRefusal) };
    from.steps.set(key, step);
    return step;
  }

  /** Omits reasons and the domain XML: no decision of the machine depends on them. */
  #standing(snapshot: AnyMachineSnapshot, effects: ReadonlySet<string>): DomainMachineState {
    const { away, migrationId, mayBeElsewhere } = snapshot.context;
    const state = stateName(snapshot);
    const key = JSON.stringify([state, away, migrationId, mayBeElsewhere, [...effects].sort()]);
    let standing = this.#known.get(key);
    if (standing === undefined) {
      const quarantined = snapshot.hasTag("quarantined");
      standing = { state, snapshot, away, migrationId, effects, quarantined, steps: new Map() };
      this.#known.set(key, standing);
    }
    return standing;
  }
}

function effectsAfter(before: Set<string>, actions: readonly Action[]): ReadonlySet<string> {
  for (const { type, params } of actions) {
    if (type === "xstate.spawnChild") before.add(idIn(params));
    else if (type === "xstate.stopChild") before.delete(idIn(params));
  }
  return before;
}
