// Generates models of any element that a table describes, from the table itself.

import fc from "fast-check";
import type { ElementType, Field, Fields } from "../../src/drivers/domain-xml/xml/table.js";
import type { Value } from "../../src/drivers/domain-xml/xml/values.js";

export const textOf = ({ range, looks, parse }: Value<unknown>): fc.Arbitrary<unknown> => {
  if (range !== undefined) return fc.integer({ min: range[0], max: range[1] });
  // fast-check does not support patterns with escapes beyond 16 bits; those patterns accept any text.
  const texts = looks.unicode
    ? fc.string({ unit: "grapheme" }).filter((text) => looks.test(text))
    : fc.stringMatching(looks);
  return texts.map(parse).filter((value) => value !== undefined);
};

export function modelOf<T>(type: ElementType<T>): fc.Arbitrary<T> {
  const { variants, fields } = type;
  if (variants === undefined) return ofFields(fields) as fc.Arbitrary<T>;
  const each = Object.entries(variants.alternatives).map(([name, more]) =>
    ofFields({ ...fields, ...more }).map((entry) => ({ ...entry, [variants.by]: name })),
  );
  return fc.oneof(...each) as fc.Arbitrary<unknown> as fc.Arbitrary<T>;
}

function ofFields(fields: Fields): fc.Arbitrary<Record<string, unknown>> {
  const made = Object.entries(fields).flatMap(([key, field]) => {
    const arbitrary = ofField(field);
    return arbitrary === undefined ? [] : [[key, arbitrary] as const];
  });
  const optional = new Set(Object.keys(fields).filter((key) => fields[key]?.presence === "maybe"));
  const required = made.map(([key]) => key).filter((text) => !optional.has(text));
  return fc.record(Object.fromEntries(made), { requiredKeys: required });
}

function ofField({ is }: Field<unknown>): fc.Arbitrary<unknown> | undefined {
  switch (is.kind) {
    case "attribute":
    case "text":
      return textOf(is.value);
    case "child":
      return modelOf(is.type);
    case "list":
      return fc.array(modelOf(is.type), { maxLength: 2 });
    case "flag":
      return fc.boolean();
    default:
      return undefined;
  }
}
