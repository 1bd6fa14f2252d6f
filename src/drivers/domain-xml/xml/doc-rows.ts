// Renders the table of supported XML as plain rows for the documentation, in the table's order.

import type { ElementType, Field, Fields, Sees } from "./table.js";

export interface Row {
  /** XPath, such as `domain/devices/disk[@type="file"]/source/@file`. */
  readonly path: string;
  /** Allowed values; empty for an element. */
  readonly values: string;
  /** `yes` when it must be given; otherwise its default, if it has one. */
  readonly needed: string;
  /** The extent to which the two sides of a migration must agree on it. */
  readonly bothSides: string;
  readonly does: string;
}

const bothSides = (sees: Sees<unknown>): string => {
  if (typeof sees === "object") return "the guest-visible part";
  return { value: "the same", presence: "both or neither", nothing: "may differ" }[sees];
};

export function rowsOf({ fields, variants }: ElementType<unknown>, path: string): Row[] {
  const common = fieldRows(fields, path);
  if (variants === undefined) return common;
  const { by, sees, does, alternatives } = variants;
  const values = Object.keys(alternatives).join(" | ");
  return [
    { path: `${path}/@${by}`, values, needed: "yes", bothSides: bothSides(sees), does },
    ...common,
    ...Object.entries(alternatives).flatMap(([value, more]) => fieldRows(more, `${path}[@${by}="${value}"]`)),
  ];
}

const fieldRows = (fields: Fields, path: string): Row[] =>
  Object.entries(fields).flatMap(([key, field]) => rowsFor(field, field.name ?? key, path));

function rowsFor({ is, presence, sees, does }: Field<unknown>, name: string, path: string): Row[] {
  const row = { values: "", needed: "", bothSides: bothSides(sees), does };
  switch (is.kind) {
    case "attribute": {
      const otherwise = is.default === undefined ? "yes" : `default ${is.value.print(is.default)}`;
      const needed = presence === "always" ? otherwise : "";
      return [{ ...row, path: `${path}/@${name}`, values: is.value.says, needed }];
    }
    case "text":
      return [
        { ...row, path: `${path}/text()`, values: is.value.says, needed: presence === "always" ? "yes" : "" },
      ];
    case "child":
    case "list":
      return rowsOf(is.type, `${path}/${name}`);
    case "flag":
    case "opaque":
      return [{ ...row, path: `${path}/${name}` }];
    case "refusedAttribute":
      return [{ ...row, path: `${path}/@${name}`, bothSides: "refused" }];
    case "refusedChild":
      return [{ ...row, path: `${path}/${name}`, bothSides: "refused" }];
  }
}
