// The merges of a packed world: which number stands for a component's number, computed once for each.

import { Column } from "./column.js";
import type { Merge } from "./components.js";
import { type Layout, type Place, read, write } from "./layout.js";

export interface CompiledMerge {
  readonly place: Place;
  readonly merge: Merge;
  /** Classes are kept plus 1. */
  readonly given: readonly { readonly place: Place; readonly radix: number; readonly classes: Column }[];
  /** By the combination of classes: the number that stands for each, plus 1. */
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
  { place, merge: it, given, tables }: CompiledMerge,
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
      known = (it.given[i]?.classOf(number) ?? 0) + 1;
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
    to = it.to(number, classesOf(it, combination)) + 1;
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
