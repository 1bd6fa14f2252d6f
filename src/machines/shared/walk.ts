// Walks the definition of a machine: every state and every edge, including those that XState's own graph leaves out
// (`always`, and transitions inherited from groups). Used by the docs, the inspector, the journal and the tests.

import type { AnyStateMachine, AnyStateNode } from "xstate";
import type { StateMeta } from "./actions.js";

export interface Edge {
  readonly from: AnyStateNode;
  readonly event: string;
  readonly target: AnyStateNode;
  readonly guard: unknown;
}

const ownMeta = (node: AnyStateNode): StateMeta => (node.meta ?? {}) as StateMeta;
export const isGroup = (node: AnyStateNode): boolean => ownMeta(node).group === true;
export const isLeaf = (node: AnyStateNode): boolean => node.type === "atomic";
/** A state that is left as soon as it is entered: no event ever finds it. */
export const isPassing = (node: AnyStateNode): boolean =>
  node.always?.some(({ guard }) => guard === undefined) === true;

const childrenOf = (node: AnyStateNode): AnyStateNode[] => Object.values(node.states);
const withBelow = (node: AnyStateNode): AnyStateNode[] => [node, ...childrenOf(node).flatMap(withBelow)];

/** Returns every state and every group, in the order of the definition. */
export const nodesOf = (machine: AnyStateMachine): AnyStateNode[] =>
  childrenOf(machine.root).flatMap(withBelow);

/** Returns every state except the groups. */
export const statesOf = (machine: AnyStateMachine): AnyStateNode[] =>
  nodesOf(machine).filter((node) => !isGroup(node));

/** Returns the states that are recorded by their own names: those at the top, and those in the groups. */
export const namedStatesOf = (machine: AnyStateMachine): AnyStateNode[] =>
  statesOf(machine).filter((node) => node.parent === machine.root || isGroup(node.parent ?? node));

/** Returns the path from the state to the root. */
export const pathOf = (node: AnyStateNode): AnyStateNode[] =>
  node.parent === undefined ? [node] : [node, ...pathOf(node.parent)];

/** Returns the name by which the state is recorded: its path without the groups. A group is named by its own key. */
export const nameOf = (node: AnyStateNode): string =>
  isGroup(node)
    ? node.key
    : pathOf(node)
        .slice(0, -1)
        .filter((above) => !isGroup(above))
        .map((above) => above.key)
        .toReversed()
        .join(".");
export const topOf = (node: AnyStateNode): string => nameOf(node).split(".")[0] ?? "";

/** Merges the state's `meta` with that of its parents. */
export const metaOf = (node: AnyStateNode): StateMeta =>
  Object.assign({}, ...pathOf(node).map(ownMeta).toReversed(), { group: ownMeta(node).group });
export const tagsOf = (node: AnyStateNode): readonly string[] => pathOf(node).flatMap((above) => above.tags);

/**
 * Returns every transition with a target, including those of `always`, of `after` and of effects. A transition of a
 * group is an edge from each state in it that does not handle the event itself.
 */
export function edgesOf(machine: AnyStateMachine): Edge[] {
  return [machine.root, ...statesOf(machine)].flatMap((from) => {
    const handled = new Set<string>();
    const edges: Edge[] = [];
    for (const node of [from, ...groupsAround(from)]) {
      const events = [...node.transitions].filter(([event]) => !handled.has(event));
      for (const [event] of events) handled.add(event);
      const transitions = [...events.map(([, them]) => them), node.always ?? []].flat();
      for (const { eventType, target, guard } of transitions)
        for (const to of target ?? []) edges.push({ from, event: eventType, target: entered(to), guard });
    }
    return edges;
  });
}

/** Returns every transition with a target as it is written: from a state or a group, to a state or a group. */
export const arrowsOf = (machine: AnyStateMachine): Edge[] =>
  [machine.root, ...nodesOf(machine)].flatMap((from) =>
    [...from.transitions.values(), from.always ?? []]
      .flat()
      .flatMap(({ eventType, target, guard }) =>
        (target ?? []).map((to) => ({ from, event: eventType, target: to, guard })),
      ),
  );

/**
 * Returns the top level of the machine: its groups and the states beside them, each pair with the events that lead
 * from one to the other. Transitions of a restarted engine are left out: it continues in whichever state was
 * recorded.
 */
export function overviewOf(machine: AnyStateMachine): { from: string; to: string; events: Set<string> }[] {
  const arrows = new Map<string, { from: string; to: string; events: Set<string> }>();
  for (const { from, event, target } of arrowsOf(machine)) {
    const [home = "", there = ""] = [from.path[0], target.path[0]];
    if (home === "rehydrating" || home === there) continue;
    const arrow = arrows.get(`${home} ${there}`) ?? { from: home, to: there, events: new Set() };
    arrows.set(`${home} ${there}`, { ...arrow, events: arrow.events.add(event) });
  }
  return [...arrows.values()];
}

/** Returns the groups around a named state, the innermost first. */
function groupsAround({ parent }: AnyStateNode): AnyStateNode[] {
  return parent === undefined || !isGroup(parent) ? [] : [parent, ...groupsAround(parent)];
}

/** A transition into a group enters its initial state. */
function entered(node: AnyStateNode): AnyStateNode {
  const [first] = isGroup(node) ? (node.initial?.target ?? []) : [];
  return first === undefined ? node : entered(first);
}

/** Returns the name of a machine's state, as the recorder writes it. */
export function stateName({
  value,
  machine,
}: {
  readonly value: unknown;
  readonly machine: { readonly root: AnyStateNode };
}): string {
  let node: AnyStateNode | undefined = machine.root;
  let below: unknown = value;
  while (typeof below === "object" && below !== null) {
    const [entry, ...others] = Object.entries(below);
    node = entry && node?.states[entry[0]];
    if (entry === undefined || others.length > 0 || node === undefined || !isGroup(node)) break;
    below = entry[1];
  }
  return nameOfValue(below);
}

function nameOfValue(value: unknown): string {
  if (typeof value !== "object" || value === null) return String(value);
  const inner = Object.entries(value).map(([name, child]) => {
    const below = nameOfValue(child);
    return below === "" ? name : below.startsWith("(") ? `${name}${below}` : `${name}.${below}`;
  });
  return inner.length === 1 ? inner.join("") : `(${inner.join(", ")})`;
}
