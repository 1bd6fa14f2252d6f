// Runs a world that is described by components and rules (components.ts) on packed integers. What rules, maps and merges
// return is computed once for each combination of the numbers that they read, and kept as patches of the packed words.

import type { AnyComponent, Change, Component, Merge, Read, Rule, RuleSet, WorldDescription } from "./components.js";
import { Layout, type Place } from "./layout.js";
import { PairMap } from "./pair-map.js";
import { type MoveKind, moveKinds, type SearchWorld, type Successors } from "./search-world.js";

/** The number of a combination of components, evaluated at most once for each state. */
interface Key {
  readonly parent: Key | null;
  readonly place: Place;
  readonly pairs: PairMap;
  readonly after: Map<AnyComponent, Key>;
  stamp: number;
  value: number;
}

interface CompiledRule {
  readonly rule: Rule;
  readonly key: Key | null;
  /** By the number of the combination. */
  readonly moves: (CompiledMove[] | undefined)[];
  readonly faults: (CompiledMove[] | undefined)[];
}

interface CompiledMove {
  readonly name: string;
  readonly kind: MoveKind;
  readonly harm: string | undefined;
  /** What remains of each word, and what is set in it. */
  readonly keep: readonly number[];
  readonly set: readonly number[];
  readonly maps: readonly CompiledMap[];
  readonly merges: readonly CompiledMerge[];
}

interface CompiledMap {
  readonly place: Place;
  readonly id: number;
  readonly map: (number: number) => number;
}

interface CompiledMerge {
  readonly place: Place;
  readonly merge: Merge;
  readonly given: readonly { readonly place: Place; readonly radix: number; readonly classes: number[] }[];
  /** By the combination of classes, then by the number that is replaced. */
  readonly tables: number[][];
}

export class PackedWorld implements SearchWorld {
  readonly words: number;
  readonly first: Int32Array;
  readonly #world: WorldDescription;
  readonly #layout: Layout;
  readonly #merges: readonly CompiledMerge[];
  readonly #rules: readonly (CompiledRule | { readonly place: Place; readonly set: RuleSet; readonly compiled: CompiledRule[][] })[];
  readonly #compiled = new Map<Rule, CompiledRule>();
  readonly #keys = new Map<AnyComponent, Key>();
  readonly #mapIds = new Map<string, number>();
  readonly #mapped = new PairMap();
  readonly #always: { readonly key: Key | null; readonly verdicts: (string | null)[] };
  /** The state at hand. */
  #states: Int32Array;
  #at = 0;
  #stamp = 0;

  constructor(world: WorldDescription) {
    this.#world = world;
    this.#layout = new Layout(world.components);
    this.words = this.#layout.words;
    this.#merges = world.merges.map((it) => this.#compileMerge(it));
    this.#rules = world.rules.map((it) =>
      "reads" in it ? this.#compileRule(it) : { place: this.#layout.placeOf(it.by), set: it, compiled: [] },
    );
    this.#always = { key: this.#keyOf(world.always.reads), verdicts: [] };
    this.first = new Int32Array(this.words);
    this.#states = this.first;
    this.first = this.pack(world.first);
  }

  /** Returns the packed state in which the components have these values; those that are not named have their first one. */
  pack(values: readonly Change[]): Int32Array {
    const state = new Int32Array(this.words);
    this.#apply(this.#compileMove({ name: "", kind: moveKinds.calm, changes: values }), state, 0);
    return state;
  }

  /** Returns a component's value in a packed state. */
  value<Value>(component: Component<Value>, state: Int32Array): Value {
    return component.at(read(state, 0, this.#layout.placeOf(component)));
  }

  successors(states: Int32Array, at: number, faults: boolean, into: Successors): void {
    this.#look(states, at);
    for (const it of this.#rules) {
      if ("rule" in it) {
        if (faults || it.rule.faultsOnly !== true) this.#append(it, faults, into);
      }
      else {
        const number = read(states, at, it.place);
        const rules = (it.compiled[number] ??= it.set.rules(this.#readOf([it.set.by])).map((rule) => this.#compileRule(rule)));
        for (const rule of rules) this.#append(rule, faults, into);
      }
    }
  }

  broken(states: Int32Array, at: number): string | undefined {
    this.#look(states, at);
    const { key, verdicts } = this.#always;
    const number = this.#numberOf(key);
    let verdict = verdicts[number];
    if (verdict === undefined) {
      verdict = this.#world.always.broken(this.#readOf(this.#world.always.reads)) ?? null;
      verdicts[number] = verdict;
    }
    return verdict ?? undefined;
  }

  brokenInTheEnd(states: Int32Array, at: number): string | undefined {
    this.#look(states, at);
    return this.#world.inTheEnd(this.#read);
  }

  #look(states: Int32Array, at: number): void {
    this.#states = states;
    this.#at = at;
    this.#stamp += 1;
  }

  #read: Read = (component) => component.at(read(this.#states, this.#at, this.#layout.placeOf(component)));

  /** Rejects components that were not named: what depends on them must not be computed once for all of their values. */
  #readOf(components: readonly AnyComponent[]): Read {
    return (component) => {
      if (!components.includes(component)) throw new Error(`a rule reads ${component.name} without naming it`);
      return this.#read(component);
    };
  }

  #append(compiled: CompiledRule, faults: boolean, into: Successors): void {
    const number = this.#numberOf(compiled.key);
    let moves = (faults ? compiled.faults : compiled.moves)[number];
    if (moves === undefined) {
      const all = compiled.rule.moves(this.#readOf(compiled.rule.reads)).map((it) => this.#compileMove(it));
      compiled.faults[number] = all.filter((it) => it.kind === moveKinds.fault);
      compiled.moves[number] = all.filter((it) => it.kind !== moveKinds.fault);
      moves = (faults ? compiled.faults : compiled.moves)[number] ?? [];
    }
    const { words } = this;
    for (let pick = 0; pick < moves.length; pick += 1) {
      const move = moves[pick];
      if (move === undefined) continue;
      const at = into.append(move.name, move.kind, move.harm);
      for (let word = 0; word < words; word += 1) into.states[at + word] = this.#states[this.#at + word] ?? 0;
      this.#apply(move, into.states, at);
    }
  }

  /** Changes a packed state in place. */
  #apply({ keep, set, maps, merges }: CompiledMove, states: Int32Array, at: number): void {
    for (let word = 0; word < keep.length; word += 1)
      states[at + word] = ((states[at + word] ?? 0) & (keep[word] ?? 0)) | (set[word] ?? 0);
    for (let i = 0; i < maps.length; i += 1) {
      const it = maps[i];
      if (it === undefined) continue;
      const number = read(states, at, it.place);
      let to = this.#mapped.get(it.id, number);
      if (to === -1) {
        to = it.map(number);
        this.#mapped.set(it.id, number, to);
      }
      write(states, at, it.place, to);
    }
    for (let i = 0; i < merges.length; i += 1) {
      const it = merges[i];
      if (it !== undefined) merge(it, states, at);
    }
  }

  #numberOf(key: Key | null): number {
    if (key === null) return 0;
    if (key.stamp === this.#stamp) return key.value;
    const own = read(this.#states, this.#at, key.place);
    key.value = key.parent === null ? own : key.pairs.numberOf(this.#numberOf(key.parent), own);
    key.stamp = this.#stamp;
    return key.value;
  }

  #keyOf(components: readonly AnyComponent[]): Key | null {
    let key: Key | null = null;
    for (const component of components) {
      const siblings: Map<AnyComponent, Key> = key === null ? this.#keys : key.after;
      let next = siblings.get(component);
      if (next === undefined) {
        const place = this.#layout.placeOf(component);
        next = { parent: key, place, pairs: new PairMap(), after: new Map(), stamp: -1, value: 0 };
        siblings.set(component, next);
      }
      key = next;
    }
    return key;
  }

  #compileRule(rule: Rule): CompiledRule {
    let compiled = this.#compiled.get(rule);
    if (compiled === undefined) {
      compiled = { rule, key: this.#keyOf(rule.reads), moves: [], faults: [] };
      this.#compiled.set(rule, compiled);
    }
    return compiled;
  }

  #compileMove({ name, kind, harm, changes }: ReturnType<Rule["moves"]>[number]): CompiledMove {
    const keep = new Array<number>(this.words).fill(-1);
    const set = new Array<number>(this.words).fill(0);
    const maps = new Map<AnyComponent, { key: string; map: (number: number) => number }>();
    for (const change of changes) {
      const { component } = change;
      const { word, shift, mask } = this.#layout.placeOf(component);
      if ("number" in change) {
        keep[word] = (keep[word] ?? 0) & ~(mask << shift);
        set[word] = ((set[word] ?? 0) & ~(mask << shift)) | (change.number << shift);
      } else {
        const { key, map } = change;
        const before = maps.get(component);
        maps.set(
          component,
          before === undefined
            ? { key, map }
            : { key: `${before.key}; ${key}`, map: (number) => map(before.map(number)) },
        );
      }
    }
    const touched = new Set(changes.map((it) => it.component));
    const merges = this.#merges.filter(({ merge: { of, given } }) => {
      const concerns = touched.has(of) || given.some((it) => touched.has(it.component));
      if (concerns) touched.add(of);
      return concerns;
    });
    return {
      name,
      kind,
      harm,
      keep,
      set,
      merges,
      maps: [...maps].map(([component, { key, map }]) => {
        const id = this.#mapIds.get(key) ?? this.#mapIds.size;
        this.#mapIds.set(key, id);
        return { place: this.#layout.placeOf(component), id, map };
      }),
    };
  }

  #compileMerge(it: Merge): CompiledMerge {
    let radix = 1;
    const given = it.given.map(({ component, classes }) => {
      const one = { place: this.#layout.placeOf(component), radix, classes: [] };
      radix *= classes;
      return one;
    });
    return { place: this.#layout.placeOf(it.of), merge: it, given, tables: [] };
  }
}

const read = (states: Int32Array, at: number, { word, shift, mask }: Place): number =>
  ((states[at + word] ?? 0) >>> shift) & mask;

function write(states: Int32Array, at: number, { word, shift, mask }: Place, number: number): void {
  states[at + word] = ((states[at + word] ?? 0) & ~(mask << shift)) | (number << shift);
}

function merge({ place, merge: it, given, tables }: CompiledMerge, states: Int32Array, at: number): void {
  let combination = 0;
  for (let i = 0; i < given.length; i += 1) {
    const one = given[i];
    if (one === undefined) continue;
    const number = read(states, at, one.place);
    combination += one.radix * (one.classes[number] ??= it.given[i]?.classOf(number) ?? 0);
  }
  if (combination === 0 && given.length > 0) return;
  const number = read(states, at, place);
  const table = (tables[combination] ??= []);
  let to = table[number];
  if (to === undefined) {
    to = it.to(number, classesOf(it, combination));
    table[number] = to;
  }
  write(states, at, place, to);
}

function classesOf({ given }: Merge, combination: number): number[] {
  let rest = combination;
  return given.map(({ classes }) => {
    const one = rest % classes;
    rest = Math.floor(rest / classes);
    return one;
  });
}
