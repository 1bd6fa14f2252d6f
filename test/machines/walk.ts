// Walks a machine's definition: every state, every edge, with what XState's own graph leaves out (`always`, `after`, effects).

import type { AnyStateMachine, AnyStateNode } from "xstate";

export interface Edge {
  readonly from: AnyStateNode;
  readonly event: string;
  readonly target: AnyStateNode;
  readonly guard: unknown;
}

export function statesOf(machine: AnyStateMachine): AnyStateNode[] {
  const below = (node: AnyStateNode): AnyStateNode[] => [node, ...Object.values(node.states).flatMap(below)];
  return Object.values(machine.root.states).flatMap(below);
}

/** From the state to the root. */
export function pathOf(node: AnyStateNode): AnyStateNode[] {
  return node.parent === undefined ? [node] : [node, ...pathOf(node.parent)];
}

export const nameOf = (node: AnyStateNode): string => node.path.join(".");
export const topOf = (node: AnyStateNode): string => node.path[0] ?? "";
export const isLeaf = (node: AnyStateNode): boolean => node.type === "atomic";

/** Every transition with a target, those of `after` and of effects included. */
export function edgesOf(machine: AnyStateMachine): Edge[] {
  return [machine.root, ...statesOf(machine)].flatMap((from) =>
    [...from.transitions.values(), from.always ?? []]
      .flat()
      .flatMap(({ eventType, target, guard }) =>
        (target ?? []).map((it) => ({ from, event: eventType, target: it, guard })),
      ),
  );
}

/** Left as soon as it is entered: no event ever finds it. */
export const isPassing = (node: AnyStateNode): boolean =>
  node.always?.some(({ guard }) => guard === undefined) === true;
