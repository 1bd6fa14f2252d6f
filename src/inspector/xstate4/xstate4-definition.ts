// Converts an XState 5 machine to the JSON of XState 4, for inspectors that support only version 4. The result is for display
// only: guards and actions are names and cannot be executed.

import type { AnyStateMachine, AnyStateNode, AnyTransitionDefinition } from "xstate";

interface Transition4 {
  readonly target?: readonly string[];
  readonly cond?: string;
  readonly actions: readonly string[];
  readonly internal: boolean;
  readonly description?: string | undefined;
}

type Transitions4 = Readonly<Record<string, readonly Transition4[]>>;

export interface State4 {
  readonly id: string;
  readonly key: string;
  readonly type: string;
  readonly order: number;
  readonly initial?: string;
  readonly history?: "shallow" | "deep";
  readonly states: Readonly<Record<string, State4>>;
  readonly on: Transitions4;
  readonly after: Transitions4;
  readonly always: readonly Transition4[];
  readonly entry: readonly string[];
  readonly exit: readonly string[];
  readonly invoke: readonly { readonly id: string; readonly src: string }[];
  readonly meta: unknown;
  readonly tags: readonly string[];
  readonly description?: string | undefined;
}

export type Definition4 = State4 & { readonly predictableActionArguments: true };

export const definition4 = ({ root }: AnyStateMachine): Definition4 => ({
  ...state4(root),
  key: root.id,
  // Without it XState 4 prints a warning.
  predictableActionArguments: true,
});

/** Returns XState 4's name for an internal event of XState 5; other names are returned unchanged. */
export const eventType4 = (type: string): string =>
  type
    .replace(/^xstate\.done\.actor\./, "done.invoke.")
    .replace(/^xstate\.error\.actor\./, "error.platform.")
    .replace(/^xstate\.done\.state\./, "done.state.")
    .replace(/^xstate\.after\.([^.]+)\./, "xstate.after($1)#");

function state4(node: AnyStateNode): State4 {
  const [initial] = node.initial?.target ?? [];
  // XState 5 stores an `after` as an ordinary transition plus entry and exit actions that are not in the config.
  const ofDelay = "xstate.after.";
  const transitions = Object.entries(node.on).map(([type, them]) => [type, them.map(transition4)] as const);
  const delayed = transitions.filter(([type]) => type.startsWith(ofDelay));
  const others = transitions.filter(([type]) => !type.startsWith(ofDelay));
  return {
    id: node.id,
    key: node.key,
    type: node.type,
    order: node.order,
    ...(initial && { initial: initial.key }),
    ...(node.history && { history: node.history }),
    states: Object.fromEntries(Object.entries(node.states).map(([key, child]) => [key, state4(child)])),
    on: Object.fromEntries(others.map(([type, them]) => [eventType4(type), them])),
    after: Object.fromEntries(
      delayed.map(([type, them]) => [type.slice(ofDelay.length, -`.${node.id}`.length), them]),
    ),
    always: (node.always ?? []).map(transition4),
    entry: namesOf(node.config.entry),
    exit: namesOf(node.config.exit),
    invoke: node.invoke.map(({ id, src }) => ({ id, src: nameOf(src) })),
    meta: node.meta,
    tags: node.tags,
    description: node.description,
  };
}

const transition4 = ({
  target,
  guard,
  actions,
  reenter,
  description,
}: AnyTransitionDefinition): Transition4 => ({
  ...(target && { target: target.map((node) => `#${node.id}`) }),
  ...(guard !== undefined && { cond: nameOf(guard) }),
  actions: namesOf(actions),
  internal: !reenter,
  description,
});

function namesOf(actions: unknown): string[] {
  if (actions === undefined) return [];
  return (Array.isArray(actions) ? actions : [actions]).map(nameOf);
}

/** Removes XState's prefix: XState 4 would try to execute `xstate.assign`. */
function nameOf(named: unknown): string {
  if (typeof named === "string") return named;
  if ((typeof named !== "object" && typeof named !== "function") || named === null) return String(named);
  if ("guards" in named && "name" in named) return `${named.name}(${namesOf(named.guards).join(", ")})`;
  if ("type" in named) return String(named.type).replace(/^xstate\./, "");
  return "name" in named && named.name !== "" ? String(named.name) : "unnamed";
}
