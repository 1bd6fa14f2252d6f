// The schema of the memory stream's options, as the library takes them and journals store them, derived from their
// rows.

import * as z from "zod/mini";
import type { OptionType } from "./row.js";
import { groupOf, memoryRows, type OptionName, optionalOptions } from "./table.js";

type Schema = z.ZodMiniType<unknown>;

/** Returns the path of an issue in the notation of a program. */
const at = (path: readonly PropertyKey[] | undefined): string =>
  ["stream", ...(path ?? [])].map(String).join(".");

const object = (shape: Readonly<Record<string, Schema>>): Schema =>
  z.strictObject(shape, {
    error: (issue) =>
      issue.code === "unrecognized_keys"
        ? `${at(issue.path)} has no option "${issue.keys[0]}"; choose from ${Object.keys(shape).join(", ")}`
        : `${at(issue.path)} must be an object`,
  });

const fits = (isSo: (value: unknown) => boolean, wanted: (value: unknown) => string): Schema =>
  z.custom<unknown>(isSo, { error: ({ path, input }) => `${at(path)} ${wanted(input)}` });

function schemaOf(name: OptionName, type: OptionType): Schema {
  switch (type.kind) {
    case "group":
      return object(shapeOf(name));
    case "switch":
    case "choice":
      return fits(
        (value) => typeof value === "boolean",
        () => "must be a boolean",
      );
    case "number":
      return fits(
        (value) =>
          typeof value === "number" && Number.isInteger(value) && value >= type.min && value <= type.max,
        (value) => `is ${value}; it must be a whole number from ${type.min} to ${type.max}`,
      );
    case "text":
    case "file":
      return fits(
        (value) => typeof value === "string" && value !== "",
        () => "must be a text",
      );
    case "list":
    case "members":
      return z.array(z.string());
  }
}

const shapeOf = (group: OptionName | undefined): Record<string, Schema> =>
  Object.fromEntries(
    memoryRows
      .filter(({ name, type }) => groupOf(name) === group && type.kind !== "members")
      .map(({ name, type }) => [name.slice(name.lastIndexOf(".") + 1), z.optional(schemaOf(name, type))]),
  );

const isOptional = (value: unknown): boolean => optionalOptions.some((option) => option === value);
const strangeIn = (value: unknown): unknown =>
  Array.isArray(value) ? value.find((option: unknown) => !isOptional(option)) : value;
const optional = fits(
  (value) => Array.isArray(value) && value.every(isOptional),
  (value) => `cannot contain "${strangeIn(value)}", only ${optionalOptions.join(", ")}`,
);

const schema = object({ ...shapeOf(undefined), optional: z.optional(optional) });

/** Returns a message about a value that does not have the form of the options; undefined when it has. */
export const formError = (value: unknown): string | undefined =>
  schema.safeParse(value).error?.issues[0]?.message;
