// One machine in the simulated world: its state, the effects that wait for an outcome, its timers. It runs the real
// machine by XState's pure `transition`, so nothing happens that the world has not chosen. What a machine does in a
// state on an event never changes, so it is computed once and remembered: that is what makes the search fast.

import {
  type AnyMachineSnapshot,
  type AnyStateMachine,
  type EventObject,
  initialTransition,
  transition,
} from "xstate";
import { stateName } from "../effects/record.js";
import { mostAttempts } from "../protocol/deadlines.js";

/** The effects that a step began and stopped. */
export interface Step {
  readonly began: readonly string[];
  readonly stopped: readonly string[];
}

/** Everything that decides what the machine does next. Never changed; each step makes a new one, or finds a known one. */
interface Standing extends Step {
  /** Equal keys: equal behaviour from here on. */
  readonly key: number;
  readonly snapshot: AnyMachineSnapshot;
  readonly effects: ReadonlyMap<string, unknown>;
  readonly timers: ReadonlyMap<string, EventObject>;
}

/** One machine, with all of its standings that were ever met. */
export class Species {
  readonly first: Standing;
  readonly #known = new Map<string, Standing>();
  readonly #steps = new Map<string, Standing>();

  constructor(
    readonly name: string,
    readonly logic: AnyStateMachine,
    input: unknown,
  ) {
    const [snapshot, actions] = initialTransition(logic, input);
    this.first = this.#follow(snapshot as AnyMachineSnapshot, actions, new Map(), new Map());
  }

  step(from: Standing, event: EventObject): Standing {
    const step = `${from.key} ${"output" in event ? JSON.stringify(event) : event.type}`;
    const known = this.#steps.get(step);
    if (known !== undefined) return known;
    const [snapshot, actions] = transition(this.logic, from.snapshot, event);
    const timers = new Map(from.timers);
    for (const [id, timer] of timers) if (timer.type === event.type) timers.delete(id);
    const effects = new Map(from.effects);
    if ("actorId" in event && typeof event["actorId"] === "string") effects.delete(event["actorId"]);
    const to = this.#follow(snapshot as AnyMachineSnapshot, actions, effects, timers);
    this.#steps.set(step, to);
    return to;
  }

  #follow(
    snapshot: AnyMachineSnapshot,
    actions: readonly { readonly type: string; readonly params: unknown }[],
    effects: Map<string, unknown>,
    timers: Map<string, EventObject>,
  ): Standing {
    const began: string[] = [];
    const stopped: string[] = [];
    for (const { type, params } of actions) {
      const it = params as {
        id: string;
        input?: unknown;
        delay?: number;
        event: EventObject;
        sendId: string;
      };
      if (type === "xstate.spawnChild" && it.id !== "watch") {
        effects.set(it.id, it.input);
        began.push(it.id);
      } else if (type === "xstate.stopChild") {
        effects.delete(it.id);
        stopped.push(it.id);
      } else if (type === "xstate.raise" && it.delay !== undefined) timers.set(it.id, it.event);
      else if (type === "xstate.cancel") timers.delete(it.sendId);
    }
    if (snapshot.status !== "active") {
      stopped.push(...effects.keys());
      effects.clear();
      timers.clear();
    }
    const key = keyOf(snapshot, effects, timers);
    const known = this.#known.get(key) ?? {
      key: this.#known.size,
      snapshot,
      effects,
      timers,
      began: [],
      stopped: [],
    };
    this.#known.set(key, known);
    return { ...known, began, stopped };
  }
}

/**
 * Left out because no decision rests on it: progress figures, failures, what was undone. The failures do tell an abort
 * from a failure in the end; the guest stays either way. Attempts are counted no higher than the machines count them.
 */
function keyOf(
  { value, status, context, output }: AnyMachineSnapshot,
  effects: ReadonlyMap<string, unknown>,
  timers: ReadonlyMap<string, EventObject>,
): string {
  const { guest, prepared, attempts = 0, source, destination } = context;
  return JSON.stringify([
    value,
    status,
    guest !== null,
    prepared !== null,
    // A state without states of its own counts no attempts, and one that does begins at none.
    typeof value === "string" ? 0 : Math.min(attempts, mostAttempts),
    source?.outcome ?? null,
    destination?.outcome ?? null,
    output?.outcome ?? (output?.kind === "aborted" ? "stayed" : (output?.kind ?? null)),
    [...effects.keys()].sort(),
    [...timers.keys()].sort(),
  ]);
}

export class Node {
  readonly name: string;
  #standing: Standing;
  readonly #species: Species;

  constructor(species: Species, standing = species.first) {
    this.#species = species;
    this.name = species.name;
    this.#standing = standing;
  }

  clone(): Node {
    return new Node(this.#species, this.#standing);
  }

  get key(): number {
    return this.#standing.key;
  }

  get snapshot(): AnyMachineSnapshot {
    return this.#standing.snapshot;
  }

  get state(): string {
    return stateName(this.snapshot.value);
  }

  /** Effects that have begun and not ended, by name. */
  get effects(): Iterable<string> {
    return this.#standing.effects.keys();
  }

  has(effect: string): boolean {
    return this.#standing.effects.has(effect);
  }

  get timers(): Iterable<string> {
    return this.#standing.timers.keys();
  }

  /** What the step began and what it stopped; nothing when the machine has ended already. */
  send(event: EventObject): Step {
    if (this.snapshot.status !== "active") return { began: [], stopped: [] };
    this.#standing = this.#species.step(this.#standing, event);
    return this.#standing;
  }

  complete(effect: string, output: unknown): Step {
    const { began, stopped } = this.send({
      type: `xstate.done.actor.${effect}`,
      output,
      actorId: effect,
    } as EventObject);
    return { began, stopped: [effect, ...stopped] };
  }

  fire(timer: string): Step {
    const event = this.#standing.timers.get(timer);
    return event === undefined ? { began: [], stopped: [] } : this.send(event);
  }
}
