// Builds a world for the search from components and rules. A component is a part of the state with its values (the state of a
// machine, a QEMU, the messages in transit); the packed state stores each value as a small number. A rule names the components
// that it reads and returns, as ordinary objects, the moves that their values allow. A rule is called once for each combination
// of the values that it reads: the search itself uses only the numbers (packed-world.ts).
//
// To search another world:
//   1. Make a Component for each part, with enough bits for its values. Intern structured values (one object for equal ones).
//      Split a part that every message or clock would multiply; keep parts together that are always read together.
//   2. Write a Rule for each kind of move. It names the few components that it reads: one result is computed per combination.
//      A part that a rule only passes on, such as the messages in transit, is changed by a map and not read.
//   3. Define the checks `always` (each names the components that it reads) and `inTheEnd` (may read everything).
//   4. explore(new PackedWorld(description), { faults }). A violated guarantee is reported as the names of the moves, with the
//      packed state after each, so that a world with a story can replay them.
//   5. Add a Merge for values whose difference no longer matters, and compare with the world without it.
// migration-world.ts is an example; test/simulator/explore.test.ts has the smallest ones.

import type { MoveKind } from "./search-world.js";

/** One part of a state. `bits` limits the number of its values and takes space in every state. */
export class Component<Value> implements AnyComponent {
  readonly name: string;
  readonly bits: number;
  readonly #numbers = new Map<Value, number>();
  readonly #values: Value[] = [];

  /** Values are compared like keys of a Map: equal values have to be the same object or primitives. */
  constructor(name: string, bits: number) {
    this.name = name;
    this.bits = bits;
  }

  numberOf(value: Value): number {
    let number = this.#numbers.get(value);
    if (number === undefined) {
      number = this.#values.length;
      if (number >= 2 ** this.bits)
        throw new RangeError(
          `component ${this.name} has more than ${2 ** this.bits} values: increase its bits`,
        );
      this.#numbers.set(value, number);
      this.#values.push(value);
    }
    return number;
  }

  at(number: number): Value {
    if (number >= this.#values.length)
      throw new RangeError(`component ${this.name} does not have a value number ${number}`);
    return this.#values[number] as Value;
  }

  /** Sets the component to this value. */
  becomes(value: Value): ValueOf {
    return { component: this, number: this.numberOf(value) };
  }

  /** Maps the component's value to another one; the rule need not read it. Equal keys identify equal functions. */
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

/** The effect of a move on one component: sets it or maps it. */
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

/** Returns the value of a component in the current state. */
export type Read = <Value>(component: Component<Value>) => Value;

export interface WorldMove {
  readonly name: string;
  readonly kind: MoveKind;
  /** The guarantee that the move itself violates. */
  readonly harm?: string | undefined;
  /** Values are set first, then the maps are applied in order; a map never depends on the new value of another component. */
  readonly changes: readonly Change[];
}

export interface Rule {
  /** The moves depend only on these components. Rules that begin with the same components share the lookup. */
  readonly reads: readonly AnyComponent[];
  /** All its moves are faults: the rule is skipped where no fault may happen. */
  readonly faultsOnly?: boolean;
  moves(read: Read): readonly WorldMove[];
}

/** Rules that apply only for some values of one component, such as one rule for each message in transit. */
export interface RuleSet {
  readonly by: AnyComponent;
  /** Called once for each value. A rule that applies to several values has to be the same object. */
  rules(read: Read): readonly Rule[];
}

/**
 * Merges states whose difference is irrelevant to all moves and checks: after each move the component's value is replaced by a
 * representative. The merged states must have the same future; this is not verified.
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

/** Divides the values of a component into a few classes; `classOf` returns a number below `classes`. */
export const given = <Value>(
  component: Component<Value>,
  classes: number,
  classOf: (value: Value) => number,
): Given => ({ component, classes, classOf: (number) => classOf(component.at(number)) });

/** Replaces values of `of`. When classes of other components are given, nothing is replaced while all of them are 0. */
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
  /** Returns the guarantee that the values of these components violate at any moment. */
  readonly always: { readonly reads: readonly AnyComponent[]; broken(read: Read): string | undefined };
  /** Returns the guarantee that is violated if nothing more happens. */
  inTheEnd(read: Read): string | undefined;
}
