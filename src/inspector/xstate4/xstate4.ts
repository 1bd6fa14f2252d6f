// `switchover/xstate-inspect`: exposes our XState 5 actors to `@xstate/inspect`, which expects XState 4 services. It imports
// neither package: the embedder passes the object that the package installed. Events from an inspector never drive a migration.

import {
  type AnyMachineSnapshot,
  type AnyStateMachine,
  type EventObject,
  type InspectionEvent,
  StateMachine,
} from "xstate";
import { type Definition4, definition4, eventType4 } from "./xstate4-definition.js";

/** The object that `inspect()` of `@xstate/inspect` installs as `globalThis.__xstate__`. */
export interface DevTools4 {
  register(service: Service4): void;
}

/** An event or a call from an inspector to one of our machines; it was rejected. */
export interface Refused {
  /** `source`, `destination` or `coordinator`. */
  readonly machine: string;
  readonly sessionId: string;
  /** The event's type, or `start`. */
  readonly what: string;
}

export interface BridgeOptions {
  /** Called for each request by an inspector; the inspector receives an event `inspector.refused`. */
  readonly refused?: (refused: Refused) => void;
}

/** The part of an XState 4 service that the package reads. */
export interface Service4 {
  readonly id: string;
  readonly sessionId: string;
  readonly machine: { readonly definition: Definition4; toJSON(): Definition4 };
  readonly state: State4Json;
  readonly initialState: State4Json;
  /** Our machines have no parent. */
  readonly parent: undefined;
  /** The package replaces this function to observe the events sent to a service. */
  send(event: unknown): void;
  start(): void;
  subscribe(next: (state: State4Json) => void): { unsubscribe(): void };
  onStop(stopped: () => void): void;
}

/** The input of XState 4's `State.create`. */
export interface State4Json {
  readonly value: unknown;
  readonly context: unknown;
  readonly event: unknown;
  readonly _event: ScxmlEvent;
  readonly _sessionId: string;
  readonly changed: boolean;
  readonly done: boolean;
  readonly tags: readonly string[];
  readonly meta: unknown;
  readonly actions: readonly never[];
  readonly activities: object;
  readonly events: readonly never[];
  readonly transitions: readonly never[];
  readonly children: object;
}

interface ScxmlEvent {
  readonly $$type: "scxml";
  readonly type: "external";
  readonly name: string;
  readonly data: unknown;
  readonly origin?: string;
}

interface Shown {
  receives(event: EventObject, origin?: string): void;
  becomes(snapshot: AnyMachineSnapshot, event: EventObject): void;
}

/**
 * Returns the `inspect` function for `migrate`, `recoverMigrations` and `migrateBetween`.
 * @throws TypeError when the devtools are missing: call `inspect()` of `@xstate/inspect` first.
 */
export function bridgeToXStateInspect(
  devTools: DevTools4,
  { refused = () => {} }: BridgeOptions = {},
): (seen: InspectionEvent) => void {
  if (typeof devTools?.register !== "function")
    throw new TypeError("not the devtools of XState 4: call inspect() of @xstate/inspect first");
  const shown = new WeakMap<object, Shown>();
  return (seen) => {
    const { actorRef } = seen;
    if (seen.type === "@xstate.event") shown.get(actorRef)?.receives(seen.event, seen.sourceRef?.sessionId);
    if (seen.type !== "@xstate.snapshot" || !("logic" in actorRef)) return;
    // Effects are children of the machines; they are promises and callbacks, not machines.
    const { logic, sessionId } = actorRef;
    if (!(logic instanceof StateMachine)) return;
    const snapshot = seen.snapshot as AnyMachineSnapshot;
    const before = shown.get(actorRef);
    if (before) before.becomes(snapshot, seen.event);
    else
      shown.set(
        actorRef,
        show(devTools, { machine: logic, sessionId, snapshot, event: seen.event, refused }),
      );
  };
}

function show(
  devTools: DevTools4,
  begun: {
    machine: AnyStateMachine;
    sessionId: string;
    snapshot: AnyMachineSnapshot;
    event: EventObject;
    refused: (refused: Refused) => void;
  },
): Shown {
  const { machine, sessionId, refused } = begun;
  const { id } = machine;
  const definition = definition4(machine);
  const initialState = state4(begun.snapshot, scxml4(begun.event), sessionId, true);
  let state = initialState;
  let last = begun.snapshot;
  let telling: ScxmlEvent | null = null;
  const watchers = new Set<(state: State4Json) => void>();
  const stopped: (() => void)[] = [];

  const tell = (event: ScxmlEvent) => {
    telling = event;
    service.send(event);
    telling = null;
  };
  const refuse = (what: string) => {
    const why = "an inspector has read-only access";
    tell(scxml4({ type: "inspector.refused", what, why } as EventObject));
    refused({ machine: id, sessionId, what });
  };
  const service: Service4 = {
    id,
    sessionId,
    initialState,
    parent: undefined,
    machine: { definition, toJSON: () => definition },
    get state() {
      return state;
    },
    send: (event) => {
      if (event !== telling) refuse(typeOf(event));
    },
    start: () => refuse("start"),
    subscribe: (next) => {
      watchers.add(next);
      return { unsubscribe: () => watchers.delete(next) };
    },
    onStop: (listener) => stopped.push(listener),
  };
  const endWhenOver = ({ status }: AnyMachineSnapshot) => {
    if (status !== "active") for (const stop of stopped.splice(0)) stop();
  };

  devTools.register(service);
  endWhenOver(begun.snapshot);
  return {
    receives: (event, origin) => tell(scxml4(event, origin)),
    becomes: (snapshot, event) => {
      state = state4(snapshot, scxml4(event), sessionId, snapshot !== last);
      last = snapshot;
      for (const watcher of watchers) watcher(state);
      endWhenOver(snapshot);
    },
  };
}

const state4 = (
  snapshot: AnyMachineSnapshot,
  event: ScxmlEvent,
  sessionId: string,
  changed: boolean,
): State4Json => ({
  value: snapshot.value,
  context: plain(snapshot.context),
  event: event.data,
  _event: event,
  _sessionId: sessionId,
  changed,
  done: snapshot.status === "done",
  tags: [...snapshot.tags],
  meta: snapshot.getMeta(),
  actions: [],
  activities: {},
  events: [],
  transitions: [],
  children: {},
});

function scxml4(event: EventObject, origin?: string): ScxmlEvent {
  const name = eventType4(event.type);
  const data = plain({ ...event, type: name });
  return { $$type: "scxml", type: "external", name, data, ...(origin !== undefined && { origin }) };
}

/** Converts values that the package cannot serialize: errors would become `{}`, and bigints would make it throw. */
function plain(value: unknown): unknown {
  const text = JSON.stringify(value, (_, item: unknown) => {
    if (item instanceof Error) return { name: item.name, message: item.message };
    return typeof item === "bigint" ? String(item) : item;
  });
  return JSON.parse(text);
}

function typeOf(event: unknown): string {
  if (typeof event !== "object" || event === null) return String(event);
  if ("name" in event) return String(event.name);
  return "type" in event ? String(event.type) : "an event without a type";
}
