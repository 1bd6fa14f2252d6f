// Runs a world that is described by components and rules (components.ts) on packed integers. The results of rules, maps and
// merges are computed once for each combination of the numbers that they read, and stored as patches of the packed words.

import { Code } from "./code.js";
import { Column } from "./column.js";
import { applyMerge, type CompiledMerge, compileMerge } from "./compiled-merge.js";
import type {
  AnyComponent,
  Component,
  Read,
  Rule,
  RuleSet,
  ValueOf,
  WorldDescription,
  WorldMove,
} from "./components.js";
import { Layout, type Place, read, write } from "./layout.js";
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
  /** For each combination: the position of its moves in the code; 0 when they have not been computed. */
  readonly moves: Column;
  readonly faults: Column;
}

interface CompiledMap {
  readonly place: Place;
  readonly map: (number: number) => number;
}

export class PackedWorld implements SearchWorld {
  readonly words: number;
  readonly first: Int32Array;
  readonly #world: WorldDescription;
  readonly #layout: Layout;
  readonly #merges: readonly CompiledMerge[];
  readonly #rules: readonly (
    | CompiledRule
    | { readonly place: Place; readonly set: RuleSet; readonly compiled: CompiledRule[][] }
  )[];
  readonly #compiled = new Map<Rule, CompiledRule>();
  readonly #keys = new Map<AnyComponent, Key>();
  readonly #mapIds = new Map<string, number>();
  readonly #maps: CompiledMap[] = [];
  readonly #code = new Code();
  readonly #descriptions: { readonly name: string; readonly harm: string | undefined }[] = [];
  readonly #descriptionIds = new Map<string, number>();
  readonly #mapped = new PairMap();
  readonly #always: { readonly key: Key | null; readonly verdicts: (string | null)[] };
  /** The position of the empty list of moves in the code. */
  readonly #noMoves: number;
  /** The current state. */
  #states: Int32Array;
  #at = 0;
  #stamp = 0;

  constructor(world: WorldDescription) {
    this.#world = world;
    this.#layout = new Layout(world.components);
    this.words = this.#layout.words;
    this.#noMoves = this.#code.length;
    this.#code.append(0);
    if (world.merges.length > 31) throw new RangeError("a world can have at most 31 merges");
    this.#merges = world.merges.map((merge) => compileMerge(merge, this.#layout));
    this.#rules = world.rules.map((rule) =>
      "reads" in rule
        ? this.#compileRule(rule)
        : { place: this.#layout.placeOf(rule.by), set: rule, compiled: [] },
    );
    this.#always = { key: this.#keyOf(world.always.reads), verdicts: [] };
    this.first = new Int32Array(this.words);
    this.#states = this.first;
    this.first = this.pack(world.first);
  }

  /** Returns the packed state with these values; components that are not named have their first value. */
  pack(values: readonly ValueOf[]): Int32Array {
    const state = new Int32Array(this.words);
    for (const { component, number } of values) write(state, 0, this.#layout.placeOf(component), number);
    for (const merge of this.#merges) applyMerge(merge, state, 0);
    return state;
  }

  /** Returns a component's value in a packed state. */
  value<Value>(component: Component<Value>, state: Int32Array): Value {
    return component.at(read(state, 0, this.#layout.placeOf(component)));
  }

  successors(states: Int32Array, at: number, faults: boolean, into: Successors): void {
    this.#look(states, at);
    for (const entry of this.#rules) {
      if ("rule" in entry) {
        if (faults || entry.rule.faultsOnly !== true) this.#append(entry, faults, into);
      } else {
        const number = read(states, at, entry.place);
        let rules = entry.compiled[number];
        if (rules === undefined) {
          rules = entry.set.rules(this.#readOf([entry.set.by])).map((rule) => this.#compileRule(rule));
          entry.compiled[number] = rules;
        }
        for (const rule of rules) this.#append(rule, faults, into);
      }
    }
  }

  describe(move: number): { readonly name: string; readonly harm?: string | undefined } {
    const description = this.#descriptions[move];
    if (description === undefined) throw new RangeError(`move ${move} does not exist`);
    return description;
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

  /** Returns a reader that rejects components the rule has not named: the result would not depend on their values. */
  #readOf(components: readonly AnyComponent[]): Read {
    return (component) => {
      if (!components.includes(component))
        throw new Error(`a rule reads the component ${component.name}, which is missing from its \`reads\``);
      return this.#read(component);
    };
  }

  #append(compiled: CompiledRule, faults: boolean, into: Successors): void {
    const number = this.#numberOf(compiled.key);
    const lists = faults ? compiled.faults : compiled.moves;
    let list = lists.at(number);
    if (list === 0) {
      const all = compiled.rule.moves(this.#readOf(compiled.rule.reads));
      compiled.faults.set(number, this.#compile(all.filter(({ kind }) => kind === moveKinds.fault)));
      compiled.moves.set(number, this.#compile(all.filter(({ kind }) => kind !== moveKinds.fault)));
      list = lists.at(number);
    }
    const code = this.#code.at;
    const count = code[list] ?? 0;
    let move = list + 1;
    for (let pick = 0; pick < count; pick += 1) {
      const kind = (code[move + 1] ?? 0) as MoveKind;
      const at = into.append(code[move] ?? 0, kind, code[move + 2] === 1);
      move = this.#apply(move, this.#states, this.#at, into.states, at);
    }
  }

  /** Writes the successor state of a move; returns the position of the next move in the code. */
  #apply(move: number, from: Int32Array, fromAt: number, to: Int32Array, toAt: number): number {
    const code = this.#code.at;
    const { words } = this;
    const merges = code[move + 3] ?? 0;
    const maps = code[move + 4] ?? 0;
    const patch = move + 5 + maps;
    for (let word = 0; word < words; word += 1)
      to[toAt + word] =
        ((from[fromAt + word] ?? 0) & (code[patch + 2 * word] ?? 0)) | (code[patch + 2 * word + 1] ?? 0);
    for (let i = 0; i < maps; i += 1) this.#map(code[move + 5 + i] ?? 0, to, toAt);
    for (let i = 0, rest = merges; rest !== 0; i += 1, rest >>>= 1) {
      const compiledMerge = this.#merges[i];
      if ((rest & 1) === 1 && compiledMerge !== undefined) applyMerge(compiledMerge, to, toAt);
    }
    return patch + 2 * words;
  }

  #map(id: number, states: Int32Array, at: number): void {
    const compiledMap = this.#maps[id];
    if (compiledMap === undefined) return;
    const number = read(states, at, compiledMap.place);
    let to = this.#mapped.get(id, number);
    if (to === -1) {
      to = compiledMap.map(number);
      this.#mapped.set(id, number, to);
    }
    write(states, at, compiledMap.place, to);
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
      compiled = { rule, key: this.#keyOf(rule.reads), moves: new Column(), faults: new Column() };
      this.#compiled.set(rule, compiled);
    }
    return compiled;
  }

  /** Returns the position of the list of these moves in the code. */
  #compile(moves: readonly WorldMove[]): number {
    if (moves.length === 0) return this.#noMoves;
    const lines = moves.map((move) => this.#compileMove(move));
    const list = this.#code.length;
    this.#code.append(moves.length);
    for (const line of lines) this.#code.append(...line);
    return list;
  }

  #compileMove({ name, kind, harm, changes }: WorldMove): number[] {
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
    const touched = new Set(changes.map((change) => change.component));
    let merges = 0;
    for (const [i, { merge }] of this.#merges.entries()) {
      if (!touched.has(merge.of) && !merge.given.some(({ component }) => touched.has(component))) continue;
      touched.add(merge.of);
      merges |= 1 << i;
    }
    const mapIds = [...maps].map(([component, { key, map }]) => this.#mapId(component, key, map));
    const patch = keep.flatMap((mask, word) => [mask, set[word] ?? 0]);
    const harmful = Number(harm !== undefined);
    return [this.#describe(name, harm), kind, harmful, merges, mapIds.length, ...mapIds, ...patch];
  }

  #mapId(component: AnyComponent, key: string, map: (number: number) => number): number {
    let id = this.#mapIds.get(key);
    if (id === undefined) {
      id = this.#maps.push({ place: this.#layout.placeOf(component), map }) - 1;
      this.#mapIds.set(key, id);
    }
    return id;
  }

  #describe(name: string, harm: string | undefined): number {
    const key = `${name}\n${harm ?? ""}`;
    let id = this.#descriptionIds.get(key);
    if (id === undefined) {
      id = this.#descriptions.push({ name, harm }) - 1;
      this.#descriptionIds.set(key, id);
    }
    return id;
  }
}
