// What is wrong with a domain's XML: every fault with its place and what to do about it, all of them at once (G7).

import { printable } from "../../../protocol/printable.js";

/** For programs; the sentence is in `what`. */
export type RefusalCode =
  /** No XML, or XML that could be used to harm the reader. */
  | "malformed"
  /** The table of what is supported does not have it. */
  | "unsupported"
  /** A value that the table does not allow there. */
  | "bad-value"
  | "missing"
  /** Given twice, where there is room for one. */
  | "repeated"
  /** Two parts of the domain, or the domain and this host, cannot both be. */
  | "conflict";

/** Where in the text, both counted from one. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface Refusal extends Place {
  readonly code: RefusalCode;
  /** As in XPath: `domain/devices/disk[2]/driver/@cache`; empty when there is no document. */
  readonly path: string;
  readonly what: string;
  /** What a person can do about it. */
  readonly next: string;
}

/** In one line that is safe to print, whatever the document holds. */
export const describeRefusal = ({ line, column, path, what, next }: Refusal): string =>
  printable(`line ${line}, column ${column}: ${path === "" ? "" : `${path}: `}${what}; ${next}`);

/** The XML cannot be used. `refusals` are in the order of the text, never empty. */
export class DomainXmlError extends Error {
  override readonly name = "DomainXmlError";
  readonly refusals: readonly [Refusal, ...Refusal[]];

  constructor(refusals: readonly [Refusal, ...Refusal[]], options?: ErrorOptions) {
    super(refusals.map(describeRefusal).join("\n"), options);
    this.refusals = refusals;
  }
}

/** The error that tells them all. @throws Error when there is none, which is a bug. */
export function allOf(refusals: readonly Refusal[]): DomainXmlError {
  const [first, ...rest] = refusals.toSorted((a, b) => a.line - b.line || a.column - b.column);
  if (first === undefined) throw new Error("nothing was refused");
  return new DomainXmlError([first, ...rest]);
}
