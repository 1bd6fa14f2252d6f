// One machine in the simulated world: its state, the effects that wait for an outcome, its timers. It runs the real
// machine by XState's pure `transition`, so nothing happens that the world has not chosen.

import {
  type AnyMachineSnapshot,
  type AnyStateMachine,
  type EventObject,
  initialTransition,
  transition,
} from "xstate";
import { stateName } from "../../src/effects/record.js";

export interface PendingEffect {
  readonly id: string;
  readonly input: unknown;
  /** Whether a question that this effect asks has reached the other side. */
  delivered: boolean;
}

interface Action {
  readonly type: string;
  readonly params: unknown;
}

export class Node<S extends AnyMachineSnapshot = AnyMachineSnapshot> {
  snapshot: S;
  readonly effects = new Map<string, PendingEffect>();
  readonly timers = new Map<string, EventObject>();

  constructor(
    readonly name: string,
    private readonly logic: AnyStateMachine,
    input: unknown,
    private readonly tell: (line: string) => void,
  ) {
    const [snapshot, actions] = initialTransition(logic, input);
    this.snapshot = snapshot as S;
    this.#follow(actions);
  }

  send(event: EventObject): void {
    if (this.snapshot.status !== "active") return;
    const before = stateName(this.snapshot.value);
    const [snapshot, actions] = transition(this.logic, this.snapshot, event);
    this.snapshot = snapshot as S;
    this.#follow(actions);
    this.tell(`${this.name}: ${before} --${event.type}--> ${stateName(snapshot.value)}`);
  }

  complete(id: string, output: unknown): void {
    this.effects.delete(id);
    this.send({ type: `xstate.done.actor.${id}`, output, actorId: id } as EventObject);
  }

  fire(id: string): void {
    const event = this.timers.get(id);
    this.timers.delete(id);
    if (event !== undefined) this.send(event);
  }

  get state(): string {
    return stateName(this.snapshot.value);
  }

  #follow(actions: readonly Action[]): void {
    for (const { type, params } of actions) {
      const it = params as {
        id: string;
        input?: unknown;
        delay?: number;
        event: EventObject;
        sendId: string;
      };
      if (type === "xstate.spawnChild" && it.id !== "watch") {
        this.effects.set(it.id, { id: it.id, input: it.input, delivered: false });
      } else if (type === "xstate.stopChild") this.effects.delete(it.id);
      else if (type === "xstate.raise" && it.delay !== undefined) this.timers.set(it.id, it.event);
      else if (type === "xstate.cancel") this.timers.delete(it.sendId);
    }
    if (this.snapshot.status !== "active") {
      this.effects.clear();
      this.timers.clear();
    }
  }
}
