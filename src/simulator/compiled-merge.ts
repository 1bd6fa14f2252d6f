// The merges of a packed world: the representative of each number of a component, computed once.

import { Column } from "./column.js";
import type { Merge } from "./components.js";
import { type Layout, type Place, read, write } from "./layout.js";

export interface CompiledMerge {
  readonly place: Place;
  readonly merge: Merge;
  /** Classes are stored plus 1. */
  readonly given: readonly { readonly place: Place; readonly radix: number; readonly classes: Column }[];
  /** For each combination of classes: the representative of each number, plus 1. */
  readonly tables: Column[];
}

export function compileMerge(merge: Merge, layout: Layout): CompiledMerge {
  let radix = 1;
  const given = merge.given.map(({ component, classes }) => {
    const one = { place: layout.placeOf(component), radix, classes: new Column() };
    radix *= classes;
    return one;
  });
  return { place: layout.placeOf(merge.of), merge: merge, given, tables: [] };
}

/** Replaces the component's number in a packed state, in place. */
export function applyMerge(
  { place, merge, given, tables }: CompiledMerge,
  states: Int32Array,
  at: number,
): void {
  let combination = 0;
  for (let i = 0; i < given.length; i += 1) {
    const one = given[i];
    if (one === undefined) continue;
    const number = read(states, at, one.place);
    let known = one.classes.at(number);
    if (known === 0) {
      known = (merge.given[i]?.classOf(number) ?? 0) + 1;
      one.classes.set(number, known);
    }
    combination += one.radix * (known - 1);
  }
  if (combination === 0 && given.length > 0) return;
  const number = read(states, at, place);
  let table = tables[combination];
  if (table === undefined) {
    table = new Column();
    tables[combination] = table;
  }
  let to = table.at(number);
  if (to === 0) {
    to = merge.to(number, classesOf(merge, combination)) + 1;
    table.set(number, to);
  }
  write(states, at, place, to - 1);
}

function classesOf({ given }: Merge, combination: number): number[] {
  let rest = combination;
  return given.map(({ classes }) => {
    const one = rest % classes;
    rest = Math.floor(rest / classes);
    return one;
  });
}
