// The words in which a table of supported XML is written: elements with their attributes, texts and children, what each
// becomes, and what of it the guest can see. Reader, writer, comparison and documentation are all driven by it.

import type { Value } from "./values.js";

/**
 * What two sides of a migration must have in common: the value, or what the guest can tell of it. `nothing`: it is the
 * host's own affair and may differ.
 */
export type Sees<T> = "value" | "presence" | "nothing" | Glimpse<T>;
interface Glimpse<T> {
  of(value: T | undefined): unknown;
}

/** Whether the model always has it (`list`: perhaps empty). */
export type Presence = "always" | "maybe" | "never";

type Kind =
  | { readonly kind: "attribute" | "text"; readonly value: Value<unknown>; readonly default?: unknown }
  | {
      readonly kind: "child";
      readonly type: ElementType<unknown>;
      /** What it says when it is not there. */
      readonly absent?: unknown;
    }
  | {
      readonly kind: "list";
      readonly type: ElementType<unknown>;
      /** What makes one of two sides the counterpart of one of the other; default: its place in the list. */
      key?(item: unknown): string;
    }
  /** An element that says all by being there. */
  | { readonly kind: "flag" }
  /** An element of which nothing but its presence is looked at. */
  | { readonly kind: "opaque" }
  /** Known by name, and refused with a better word than "unsupported". */
  | { readonly kind: "refusedAttribute" | "refusedChild"; readonly next: string };

export interface Field<T, P extends Presence = Presence> {
  readonly presence: P;
  readonly is: Kind;
  /** Of the element; default: the field's own name. */
  readonly name?: string;
  readonly namespace?: string;
  readonly sees: Sees<T>;
  /** What becomes of it, for the documentation. */
  readonly does: string;
  /** Never there: it carries the type. */
  readonly model?: T;
}
export type Fields = Readonly<Record<string, Field<unknown>>>;

export interface ElementType<T> {
  readonly fields: Fields;
  /** More fields, by the value of an attribute. */
  readonly variants?: Variants;
  /** Never there: it carries the type. */
  readonly model?: T;
}
interface Variants {
  readonly by: string;
  readonly sees: "value" | "nothing";
  readonly does: string;
  readonly alternatives: Readonly<Record<string, Fields>>;
}

type Flat<T> = { [K in keyof T]: T[K] };
type TypeOf<F> = F extends Field<infer T> ? T : never;
type ModelOf<F extends Fields> = Flat<
  { readonly [K in keyof F as F[K]["presence"] extends "always" ? K : never]: TypeOf<F[K]> } & {
    readonly [K in keyof F as F[K]["presence"] extends "maybe" ? K : never]?: TypeOf<F[K]>;
  }
>;
/** What an element of that type reads as. */
export type Model<E> = E extends ElementType<infer T> ? T : never;

export const element = <F extends Fields>(fields: F): ElementType<ModelOf<F>> => ({ fields });

/** An element whose further contents depend on the value of one attribute. */
export const elementBy = <By extends string, A extends Readonly<Record<string, Fields>>, F extends Fields>(
  by: By,
  how: { readonly sees: "value" | "nothing"; readonly does: string },
  alternatives: A,
  fields: F,
): ElementType<
  { [V in keyof A]: Flat<{ readonly [K in By]: V } & ModelOf<A[V]> & ModelOf<F>> }[keyof A]
> => ({ fields, variants: { by, ...how, alternatives } });

/** What an attribute is to both sides, and what it becomes. */
interface About<T> {
  readonly sees: Sees<T>;
  readonly does: string;
}
/** Part of the guest's hardware: both sides must have the same. */
export const guest = (does: string) => ({ sees: "value", does }) as const;
/** The host's own affair. */
export const host = (does: string) => ({ sees: "nothing", does }) as const;
/** Accepted because it needs no argument. */
export const idle = (why: string) => ({ sees: "nothing", does: `no argument: ${why}` }) as const;

type Wish<P extends Presence> = { readonly presence: P };
const field = <T, P extends Presence>({ presence }: Wish<P>, is: Kind, about: About<T>): Field<T, P> => ({
  presence,
  is,
  ...about,
});
const always = { presence: "always" } as const;
const maybe = { presence: "maybe" } as const;

export const optional = <T>(value: Value<T>, about: About<T>) =>
  field<T, "maybe">(maybe, { kind: "attribute", value }, about);
export const needed = <T>(value: Value<T>, about: About<T>) =>
  field<T, "always">(always, { kind: "attribute", value }, about);
export const defaulted = <T>(value: Value<T>, otherwise: NoInfer<T>, about: About<T>) =>
  field<T, "always">(always, { kind: "attribute", value, default: otherwise }, about);
/** The element's own text. */
export const content = <T>(value: Value<T>, about: About<T>) =>
  field<T, "always">(always, { kind: "text", value }, about);
export const optionalContent = <T>(value: Value<T>, about: About<T>) =>
  field<T, "maybe">(maybe, { kind: "text", value }, about);

/** Where an element's name is not the field's, or not in libvirt's own (empty) namespace. */
interface Named {
  readonly name?: string;
  readonly namespace?: string;
}
interface Child<T> extends Named {
  readonly sees?: Sees<T>;
}
/** @param how `absent`: what it says when it is not there, as that which is there would be compared. */
export const one = <T>(
  type: ElementType<T>,
  { sees = "value", absent, ...named }: Child<T> & { readonly absent?: T } = {},
) => ({
  ...field<T, "maybe">(
    maybe,
    { kind: "child", type, ...(absent !== undefined && { absent }) },
    { sees, does: "" },
  ),
  ...named,
});
export const exactlyOne = <T>(type: ElementType<T>, { sees = "value", ...named }: Child<T> = {}) => ({
  ...field<T, "always">(always, { kind: "child", type }, { sees, does: "" }),
  ...named,
});
export const many = <T>(
  name: string,
  type: ElementType<T>,
  {
    sees = "value",
    key,
    ...named
  }: { sees?: "value" | "nothing"; key?: (item: T) => string; namespace?: string } = {},
) => ({
  ...field<readonly T[], "always">(always, { kind: "list", type, ...(key && { key }) }, { sees, does: "" }),
  name,
  ...named,
});
export const flag = (about: About<boolean>, named: Named = {}) => ({
  ...field<boolean, "always">(always, { kind: "flag" }, about),
  ...named,
});
export const opaque = (why: string, named: Named = {}) => ({
  ...field<never, "never">({ presence: "never" }, { kind: "opaque" }, idle(why)),
  ...named,
});
const never = { presence: "never" } as const;
export const refusedAttribute = (next: string) =>
  field<never, "never">(never, { kind: "refusedAttribute", next }, { sees: "nothing", does: next });
export const refusedChild = (next: string, named: Named = {}) => ({
  ...field<never, "never">(never, { kind: "refusedChild", next }, { sees: "nothing", does: next }),
  ...named,
});
