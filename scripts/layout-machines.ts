// Computes the layout of the three machines with elkjs, for the inspector's page.

import elk, { type ElkExtendedEdge, type ElkNode } from "elkjs/lib/elk.bundled.js";
import type { AnyStateMachine, AnyStateNode } from "xstate";
import { type Chart, type ChartEdge, type ChartState, eventName } from "../src/inspector/story/chart.js";
import { coordinatorMachine } from "../src/machines/coordinator/machine.js";
import { destinationMachine } from "../src/machines/destination/machine.js";
import { arrowsOf, isGroup, metaOf, nameOf, nodesOf, tagsOf } from "../src/machines/shared/walk.js";
import { sourceMachine } from "../src/machines/source/machine.js";

const titleHeight = 26;
const widthOf = (key: string) => Math.max(92, Math.round(key.length * 7.6) + 34);
const inner = {
  "elk.padding": `[top=${titleHeight + 8},left=10,bottom=10,right=10]`,
  "elk.spacing.nodeNode": "14",
};
const options = {
  "elk.algorithm": "layered",
  "elk.direction": "DOWN",
  "elk.hierarchyHandling": "SEPARATE_CHILDREN",
  "elk.layered.spacing.nodeNodeBetweenLayers": "34",
  "elk.spacing.nodeNode": "22",
  "elk.spacing.edgeNode": "12",
  "elk.spacing.edgeEdge": "8",
  "elk.edgeRouting": "ORTHOGONAL",
  "elk.layered.considerModelOrder.strategy": "NODES_AND_EDGES",
  "elk.padding": "[top=10,left=10,bottom=10,right=10]",
};

const idOf = (node: AnyStateNode) => node.path.join(".");

/** Returns the two ancestors-or-self with a common parent: a line is drawn between them. Null when one contains the other. */
function homes(from: AnyStateNode, to: AnyStateNode): readonly [string, string] | null {
  for (let depth = 0; depth < Math.min(from.path.length, to.path.length); depth += 1)
    if (from.path[depth] !== to.path[depth])
      return [from.path.slice(0, depth + 1).join("."), to.path.slice(0, depth + 1).join(".")];
  return null;
}

function linesOf(machine: AnyStateMachine): Map<string, { from: string; to: string; events: Set<string> }> {
  const lines = new Map<string, { from: string; to: string; events: Set<string> }>();
  for (const { from: node, event, target } of arrowsOf(machine)) {
    // A restarted engine continues in its recorded state: lines from `rehydrating` to every state would hide the others.
    const home = node.key === "rehydrating" ? null : homes(node, target);
    if (home === null) continue;
    const [from, to] = home;
    const line = lines.get(`${from}>${to}`) ?? { from, to, events: new Set() };
    line.events.add(event === "" ? "at once" : eventName(event));
    lines.set(`${from}>${to}`, line);
  }
  const [first] = machine.root.initial.target;
  const [begins] = first?.always?.at(-1)?.target ?? [];
  const home = first && begins && homes(first, begins);
  if (home) lines.set("rehydrating", { from: home[0], to: home[1], events: new Set(["begins"]) });
  return lines;
}

/** Lays a machine out with the states inside its groups; with `whole` also with the states nested in other states. */
export async function layout(machine: AnyStateMachine, whole: boolean): Promise<Chart> {
  const lines = [...linesOf(machine)];
  const boxOf = (node: AnyStateNode): ElkNode => {
    const isOpen = whole || node.parent === undefined || isGroup(node);
    const children = isOpen ? Object.values(node.states).map(boxOf) : [];
    const edges = lines
      .filter(([, { from }]) => from.split(".").slice(0, -1).join(".") === idOf(node))
      .map(([id, { from, to }]): ElkExtendedEdge => ({ id, sources: [from], targets: [to] }));
    if (node.parent === undefined) return { id: "", children, edges, layoutOptions: options };
    return children.length === 0
      ? { id: idOf(node), width: widthOf(node.key), height: whole ? titleHeight + 4 : 46 }
      : {
          id: idOf(node),
          children,
          edges,
          layoutOptions: {
            ...options,
            ...inner,
            "elk.nodeSize.constraints": "MINIMUM_SIZE",
            "elk.nodeSize.minimum": `(${widthOf(node.key)},40)`,
          },
        };
  };
  const drawn = await new elk.default().layout(boxOf(machine.root));
  const states: ChartState[] = [];
  const edges: ChartEdge[] = [];
  const nodes = new Map([machine.root, ...nodesOf(machine)].map((node) => [idOf(node), node]));
  const named = (id: string): string => {
    const node = nodes.get(id);
    return node === undefined ? id : nameOf(node);
  };
  const place = (box: ElkNode, left: number, top: number): void => {
    const node = nodes.get(box.id);
    const [x, y] = [left + (box.x ?? 0), top + (box.y ?? 0)];
    if (node === undefined) throw new Error(`there is no state ${box.id}`);
    if (box.id !== "")
      states.push({
        id: nameOf(node),
        key: node.key,
        kind: isGroup(node) ? "group" : node.type,
        says: node.description ?? "",
        phase: metaOf(node).phase ?? null,
        isPointOfNoReturn: tagsOf(node).includes("pointOfNoReturn"),
        x,
        y,
        width: box.width ?? 0,
        height: box.height ?? 0,
      });
    for (const edge of box.edges ?? []) {
      const line = lines.find(([id]) => id === edge.id)?.[1];
      if (line === undefined) continue;
      for (const { startPoint, bendPoints = [], endPoint } of edge.sections ?? [])
        edges.push({
          from: named(line.from),
          to: named(line.to),
          events: [...line.events],
          points: [startPoint, ...bendPoints, endPoint].map((point) => [
            Math.round(x + point.x),
            Math.round(y + point.y),
          ]),
        });
    }
    for (const child of box.children ?? []) place(child, x, y);
  };
  place(drawn, 0, 0);
  return {
    machine: machine.id as Chart["machine"],
    width: Math.ceil(drawn.width ?? 0),
    height: Math.ceil(drawn.height ?? 0),
    states,
    edges,
  };
}

export const layoutAll = (whole: boolean): Promise<Chart[]> =>
  Promise.all(
    [sourceMachine, coordinatorMachine, destinationMachine].map((stateMachine) =>
      layout(stateMachine, whole),
    ),
  );
