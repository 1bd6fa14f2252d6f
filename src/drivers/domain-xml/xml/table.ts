// The vocabulary for tables of supported XML: elements with their attributes, texts and children, what each is translated
// to, and which part of it the guest can see. Such a table drives reader, writer, comparison and documentation.

import type { Value } from "./values.js";

/**
 * The extent to which the two sides of a migration must agree: on the value, on its presence, or on the guest-visible part of it.
 * `nothing`: it concerns the host alone and may differ.
 */
export type Sees<T> = "value" | "presence" | "nothing" | Glimpse<T>;
interface Glimpse<T> {
  of(value: T | undefined): unknown;
}

/** Whether the model always has the field (a list may be empty). */
export type Presence = "always" | "maybe" | "never";

type Kind =
  | { readonly kind: "attribute" | "text"; readonly value: Value<unknown>; readonly default?: unknown }
  | {
      readonly kind: "child";
      readonly type: ElementType<unknown>;
      /** The value that an absent element stands for. */
      readonly absent?: unknown;
    }
  | {
      readonly kind: "list";
      readonly type: ElementType<unknown>;
      /** The key that matches elements of the two sides; default: the position in the list. */
      key?(item: unknown): string;
    }
  /** An element whose presence is its value. */
  | { readonly kind: "flag" }
  /** An element that is accepted without a check of its content. */
  | { readonly kind: "opaque" }
  /** Refused by name, with its own remedy in `next`. */
  | { readonly kind: "refusedAttribute" | "refusedChild"; readonly next: string };

export interface Field<T, P extends Presence = Presence> {
  readonly presence: P;
  readonly is: Kind;
  /** Name of the element or attribute; default: the field's name. */
  readonly name?: string;
  readonly namespace?: string;
  readonly sees: Sees<T>;
  /** The QEMU argument that it is translated to, for the documentation. */
  readonly does: string;
  /** Phantom field: type-level only. */
  readonly model?: T;
}
export type Fields = Readonly<Record<string, Field<unknown>>>;

export interface ElementType<T> {
  readonly fields: Fields;
  /** Further fields that depend on the value of an attribute. */
  readonly variants?: Variants;
  /** Phantom field: type-level only. */
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
/** The model that an element of that type is read to. */
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

/** The extent to which both sides must agree on a field, and the QEMU argument that it is translated to. */
interface About<T> {
  readonly sees: Sees<T>;
  readonly does: string;
}
/** Part of the guest's hardware: both sides must have the same value. */
export const guest = (does: string) => ({ sees: "value", does }) as const;
/** Concerns the host alone. */
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

/** For an element whose name is not the field's, or not in libvirt's own (empty) namespace. */
interface Named {
  readonly name?: string;
  readonly namespace?: string;
}
interface Child<T> extends Named {
  readonly sees?: Sees<T>;
}
/** `absent` is the value with which an absent element is compared. */
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
