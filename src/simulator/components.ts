// Builds a world for the search from components and rules. A component is a part of the state with its values (a machine's
// standing, a QEMU, the messages under way); each value stands in the packed state as a small number. A rule names the
// components that it reads and says, as ordinary objects, which moves their values allow. A rule is called once for each
// combination of the values that it reads: the search itself runs on the numbers alone (packed-world.ts).
//
// To search another world:
//   1. Make a Component for each part, with enough bits for its values. Intern structured values (one object for equal ones).
//      A part that every message or clock would multiply is better split; a part that is only read together is better one.
//   2. Write a Rule for each kind of move, which names the few components that it reads: their combinations are what is
//      computed. A part that a rule only passes on, such as the messages under way, is changed by a map and not read.
//   3. Say what is broken `always` (it names what it reads) and `inTheEnd` (it may read everything).
//   4. explore(new PackedWorld(description), { faults }). A broken guarantee comes as the names of the moves, with the packed
//      state after each, to be played once more in a world that tells its story.
//   5. Add a Merge where values differ in nothing that still matters, and compare with the world without it.
// migration-world.ts is an example; test/simulator/explore.test.ts has the smallest ones.

import type { MoveKind } from "./search-world.js";

/** One part of a state. `bits` bounds the number of its values, and costs room in every state. */
export class Component<Value> implements AnyComponent {
  readonly name: string;
  readonly bits: number;
  readonly #numbers = new Map<Value, number>();
  readonly #values: Value[] = [];

  /** Values are compared as the keys of a Map are: equal values have to be the same object, or primitives. */
  constructor(name: string, bits: number) {
    this.name = name;
    this.bits = bits;
  }

  numberOf(value: Value): number {
    let number = this.#numbers.get(value);
    if (number === undefined) {
      number = this.#values.length;
      if (number >= 2 ** this.bits)
        throw new RangeError(`${this.name} has more than ${2 ** this.bits} values: give it more bits`);
      this.#numbers.set(value, number);
      this.#values.push(value);
    }
    return number;
  }

  at(number: number): Value {
    if (number >= this.#values.length) throw new RangeError(`${this.name} has no value ${number}`);
    return this.#values[number] as Value;
  }

  /** The component has this value afterwards. */
  becomes(value: Value): ValueOf {
    return { component: this, number: this.numberOf(value) };
  }

  /** The component's value is mapped to another. The rule need not read it. Equal keys stand for equal functions. */
  changes(key: string, map: (value: Value) => Value): Mapping {
    return {
      component: this,
      key: `${this.name} ${key}`,
      map: (number) => this.numberOf(map(this.at(number))),
    };
  }
}

export interface AnyComponent {
  readonly name: string;
  readonly bits: number;
}

/** What a move does to one component: it sets it, or it maps it. */
export type Change = ValueOf | Mapping;
/** A component with the number of its value. */
export interface ValueOf {
  readonly component: AnyComponent;
  readonly number: number;
}
interface Mapping {
  readonly component: AnyComponent;
  readonly key: string;
  readonly map: (number: number) => number;
}

/** Gives the value that a component has in the state at hand. */
export type Read = <Value>(component: Component<Value>) => Value;

export interface WorldMove {
  readonly name: string;
  readonly kind: MoveKind;
  /** The guarantee that the move breaks by itself. */
  readonly harm?: string | undefined;
  /** Values are set first, then the maps are applied in order; a map never sees what another component becomes. */
  readonly changes: readonly Change[];
}

export interface Rule {
  /** The moves depend on these components alone. Rules that begin with the same components share the look-up. */
  readonly reads: readonly AnyComponent[];
  /** All its moves are faults: it is skipped where no fault may happen. */
  readonly faultsOnly?: boolean;
  moves(read: Read): readonly WorldMove[];
}

/** Rules that apply only for some values of one component, such as one for each message that is under way. */
export interface RuleSet {
  readonly by: AnyComponent;
  /** Called once for each value. A rule that applies for several values has to be the same object. */
  rules(read: Read): readonly Rule[];
}

/**
 * Merges states that differ in nothing that any move or check depends on: after each move the component's value is replaced
 * by the one that stands for all of them. The merged states must have the same future, which nothing checks.
 */
export interface Merge {
  readonly of: AnyComponent;
  readonly given: readonly Given[];
  to(number: number, classes: readonly number[]): number;
}
interface Given {
  readonly component: AnyComponent;
  readonly classes: number;
  classOf(number: number): number;
}

/** Sorts the values of a component into a few classes; `classOf` returns a number below `classes`. */
export const given = <Value>(
  component: Component<Value>,
  classes: number,
  classOf: (value: Value) => number,
): Given => ({ component, classes, classOf: (number) => classOf(component.at(number)) });

/** Replaces values of `of`. With classes of other components, nothing is replaced while all of these are 0. */
export const merge = <Value>(
  of: Component<Value>,
  classes: readonly Given[],
  to: (value: Value, classes: readonly number[]) => Value,
): Merge => ({ of, given: classes, to: (number, are) => of.numberOf(to(of.at(number), are)) });

export interface WorldDescription {
  readonly components: readonly AnyComponent[];
  readonly first: readonly ValueOf[];
  readonly rules: readonly (Rule | RuleSet)[];
  readonly merges: readonly Merge[];
  /** The guarantee that the values of these components break at any moment. */
  readonly always: { readonly reads: readonly AnyComponent[]; broken(read: Read): string | undefined };
  /** The guarantee that is broken if nothing more happens. */
  inTheEnd(read: Read): string | undefined;
}
