// Describes what is wrong with a configuration: the key, what is there, and what is allowed there.

import * as z from "zod/mini";

type Issue = z.core.$ZodIssue;

const { localeError } = z.locales.en();

/** Returns one line for each wrong place, such as `tls.port: Invalid input: expected number, received string`. */
export function describeConfigErrors(error: z.core.$ZodError): string {
  return error.issues.flatMap((issue) => linesOf(issue, [])).join("\n");
}

/** The parameter of `safeParse`: without it zod/mini says no more than "Invalid input". */
export const withMessages = { error: localeError };

function linesOf(issue: Issue, above: readonly PropertyKey[]): string[] {
  const path = [...above, ...issue.path];
  if (issue.code === "unrecognized_keys")
    return issue.keys.map((key) => `${keyOf([...path, key])}: this key is not known`);
  if (issue.code === "invalid_union" && issue.errors.length > 0)
    return closest(issue.errors).flatMap((inner) => linesOf(inner, path));
  return [`${keyOf(path)}: ${issue.message}`];
}

/** Of the forms that a place may have, the one that the given value resembles: it has the fewest keys that are not known. */
function closest(forms: readonly (readonly Issue[])[]): readonly Issue[] {
  const strange = (form: readonly Issue[]) =>
    form.reduce((sum, issue) => sum + (issue.code === "unrecognized_keys" ? issue.keys.length : 0), 0);
  const [first = [], ...others] = forms;
  return others.reduce((best, form) => (strange(form) < strange(best) ? form : best), first);
}

/** Keys of the file are quoted when they are not plain words: they may contain anything. */
const keyOf = (path: readonly PropertyKey[]): string =>
  path.length === 0
    ? "the whole"
    : path.map((key) => (/^\w+$/.test(String(key)) ? String(key) : JSON.stringify(String(key)))).join(".");
