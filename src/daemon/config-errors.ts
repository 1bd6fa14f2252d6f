// Describes the errors in a configuration: the key, its value, and the allowed values.

import * as z from "zod/mini";

type Issue = z.core.$ZodIssue;

const { localeError } = z.locales.en();

/** Returns one line per invalid place, such as `tls.port: Invalid input: expected number, received string`. */
export function describeConfigErrors(error: z.core.$ZodError): string {
  return error.issues.flatMap((issue) => linesOf(issue, [])).join("\n");
}

/** The parameter of `safeParse`: without it zod/mini reports only "Invalid input". */
export const withMessages = { error: localeError };

function linesOf(issue: Issue, above: readonly PropertyKey[]): string[] {
  const path = [...above, ...issue.path];
  if (issue.code === "unrecognized_keys")
    return issue.keys.map((key) => `${keyOf([...path, key])}: unknown key`);
  if (issue.code === "invalid_union" && issue.errors.length > 0)
    return closest(issue.errors).flatMap((inner) => linesOf(inner, path));
  return [`${keyOf(path)}: ${issue.message}`];
}

/** Returns the alternative of a union that the given value resembles most: the one with the fewest unknown keys. */
function closest(forms: readonly (readonly Issue[])[]): readonly Issue[] {
  const strange = (form: readonly Issue[]) =>
    form.reduce((sum, issue) => sum + (issue.code === "unrecognized_keys" ? issue.keys.length : 0), 0);
  const [first = [], ...others] = forms;
  return others.reduce((best, form) => (strange(form) < strange(best) ? form : best), first);
}

/** Returns the path of a key. Keys that are not plain words are quoted, because the file may contain any text. */
const keyOf = (path: readonly PropertyKey[]): string =>
  path.length === 0
    ? "top level"
    : path.map((key) => (/^\w+$/.test(String(key)) ? String(key) : JSON.stringify(String(key)))).join(".");
