// Which options exclude one another. One row of the two declares it.

import type { Relation } from "./row.js";
import { type OptionName, optionRows } from "./table.js";

export interface Exclusion extends Relation<OptionName> {
  readonly name: OptionName;
}

export const exclusions: readonly Exclusion[] = optionRows.flatMap(({ name, excludes = [] }) =>
  excludes.map((relation) => ({ name, ...relation })),
);

export const excludes = (one: OptionName, other: OptionName): boolean =>
  [
    [one, other],
    [other, one],
  ].some(([name, option]) =>
    exclusions.some((relation) => relation.name === name && relation.option === option),
  );
