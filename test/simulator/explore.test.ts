// Tests the search on small hand-made worlds: which states it finds, by which trace, and what it must not miss.

import { expect, test } from "vitest";
import { Component, type Rule, type WorldMove } from "../../src/simulator/components.js";
import { explore } from "../../src/simulator/explore.js";
import { PackedWorld } from "../../src/simulator/packed-world.js";
import { type MoveKind, moveKinds } from "../../src/simulator/search-world.js";

const { calm, requested, fault } = moveKinds;
type Edges = Readonly<Record<string, readonly (readonly [to: string, kind: MoveKind])[]>>;

/** A world of one component; each move is named after the place that it leads to. */
function worldOf(edges: Edges, { harms = {} as Readonly<Record<string, string>>, bits = 8 } = {}) {
  const place = new Component<string>("place", bits);
  const rule: Rule = {
    reads: [place],
    moves: (read) =>
      (edges[read(place)] ?? []).map(
        ([to, kind]): WorldMove => ({ name: to, kind, harm: harms[to], changes: [place.becomes(to)] }),
      ),
  };
  return new PackedWorld({
    components: [place],
    first: [place.becomes("start")],
    rules: [rule],
    merges: [],
    always: { reads: [place], broken: (read) => (read(place) === "broken" ? "broken" : undefined) },
    inTheEnd: (read) => (read(place) === "end" ? undefined : `ended in ${read(place)}`),
  });
}

const found = (edges: Edges, faults: number, harms?: Readonly<Record<string, string>>) => {
  const { broken, ...counts } = explore(worldOf(edges, harms && { harms }), { faults });
  return { ...counts, guarantee: broken?.guarantee, trace: broken?.moves.map((move) => move.name) };
};

test("the search prefers a trace with fewer faults to one with fewer moves", () => {
  const edges: Edges = {
    start: [
      ["broken", fault],
      ["a", calm],
    ],
    a: [
      ["b", calm],
      ["end", calm],
    ],
    b: [["broken", calm]],
  };
  expect(found(edges, 1)).toMatchObject({ guarantee: "broken", trace: ["a", "b", "broken"] });
});

test("a state that needs more faults than are allowed is not reached", () => {
  const edges: Edges = {
    start: [
      ["a", fault],
      ["end", calm],
    ],
    a: [
      ["broken", fault],
      ["end", calm],
    ],
  };
  expect(found(edges, 1)).toMatchObject({ guarantee: undefined, states: 3, ends: 1, whole: true });
  expect(found(edges, 2)).toMatchObject({ guarantee: "broken", trace: ["a", "broken"] });
});

test("a move that breaks a guarantee is reported although the state that it leads to is known and whole", () => {
  const edges: Edges = {
    start: [["end", calm]],
    end: [["start", requested]],
  };
  expect(found(edges, 0, { start: "harmed" })).toMatchObject({
    guarantee: "harmed",
    trace: ["end", "start"],
  });
});

test("a cycle with an exit by another calm move is not reported as a loss, in either order of the moves", () => {
  const edges: Edges = {
    start: [["a", calm]],
    a: [
      ["start", calm],
      ["b", calm],
    ],
    b: [
      ["a", calm],
      ["c", calm],
    ],
    c: [
      ["start", calm],
      ["end", calm],
    ],
  };
  expect(found(edges, 0)).toMatchObject({ guarantee: undefined, states: 5 });
});

test("a cycle with an exit only by a request is reported as never ending well", () => {
  const edges: Edges = {
    start: [
      ["a", calm],
      ["end", calm],
    ],
    a: [["b", calm]],
    b: [
      ["a", calm],
      ["end", requested],
    ],
  };
  expect(found(edges, 0)).toMatchObject({
    guarantee: "G2, G5: no good end is reachable from here",
    trace: ["a"],
  });
});

test("a state with only faults as moves is an end, and is judged as an end", () => {
  expect(found({ start: [["a", calm]], a: [["end", fault]] }, 1)).toMatchObject({
    guarantee: "ended in a",
    trace: ["a"],
  });
});

test("a search that outgrows its first tables finds each state once", () => {
  const width = 200;
  const [x, y] = [new Component<number>("x", 20), new Component<number>("y", 20)];
  const forward = (axis: Component<number>): Rule => ({
    reads: [axis],
    moves: (read) =>
      read(axis) < width - 1
        ? [{ name: axis.name, kind: calm, changes: [axis.changes("+1", (at) => at + 1)] }]
        : [],
  });
  const world = new PackedWorld({
    components: [x, y],
    first: [x.becomes(0), y.becomes(0)],
    rules: [forward(x), forward(y)],
    merges: [],
    always: { reads: [], broken: () => undefined },
    inTheEnd: () => undefined,
  });
  const transitions = 2 * width * (width - 1);
  expect(explore(world, { faults: 0 })).toEqual({ states: width ** 2, transitions, ends: 1, whole: true });
  expect(explore(world, { faults: 0, maxStates: 100 })).toMatchObject({ whole: false });
});

test("a rule that reads a component without naming it is rejected", () => {
  const [a, b] = [new Component<number>("a", 1), new Component<number>("b", 1)];
  const rule: Rule = {
    reads: [a],
    moves: (read) => [{ name: "copies", kind: calm, changes: [a.becomes(read(b))] }],
  };
  const world = new PackedWorld({
    components: [a, b],
    first: [a.becomes(0), b.becomes(1)],
    rules: [rule],
    merges: [],
    always: { reads: [], broken: () => undefined },
    inTheEnd: () => undefined,
  });
  expect(() => explore(world, { faults: 0 })).toThrow("a rule reads the component b");
});

test("a component with more values than its bits can tell apart is rejected instead of confusing its values", () => {
  const edges: Edges = {
    start: [
      ["a", calm],
      ["end", calm],
    ],
  };
  expect(() => explore(worldOf(edges, { bits: 1 }), { faults: 0 })).toThrow("more than 2 values");
});
