// The table of what is supported as plain rows, in the order of the tables, for a documentation page.

import type { ElementType, Field, Fields, Sees } from "./table.js";

export interface Row {
  /** As in XPath: `domain/devices/disk[@type="file"]/source/@file`. */
  readonly path: string;
  /** What may stand there; empty for an element. */
  readonly values: string;
  /** Whether it must be given; with the value it has otherwise. */
  readonly needed: string;
  /** What two sides of a migration must have in common of it. */
  readonly bothSides: string;
  readonly does: string;
}

const bothSides = (sees: Sees<unknown>): string => {
  if (typeof sees === "object") return "what the guest sees of it";
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
    ...Object.entries(alternatives).flatMap(([it, more]) => fieldRows(more, `${path}[@${by}="${it}"]`)),
  ];
}

const fieldRows = (fields: Fields, path: string): Row[] =>
  Object.entries(fields).flatMap(([key, field]) => rowsFor(field, field.name ?? key, path));

function rowsFor({ is, presence, sees, does }: Field<unknown>, name: string, path: string): Row[] {
  const row = { values: "", needed: "", bothSides: bothSides(sees), does };
  switch (is.kind) {
    case "attribute": {
      const otherwise = is.default === undefined ? "yes" : `else ${is.value.print(is.default)}`;
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
