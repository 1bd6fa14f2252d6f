// Errors in a domain's XML: every fault with its place and its remedy, all at once (G7).

import { printable } from "../../../protocol/printable.js";

/** Machine-readable reason; `what` has the sentence. */
export type RefusalCode =
  /** Not well-formed XML, or XML that could harm the parser. */
  | "malformed"
  /** Not in the table of supported XML. */
  | "unsupported"
  /** A value that the table does not allow. */
  | "bad-value"
  | "missing"
  /** Given twice where only one is allowed. */
  | "repeated"
  /** Two parts of the domain, or the domain and this host, contradict each other. */
  | "conflict";

/** Position in the text; line and column count from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface Refusal extends Place {
  readonly code: RefusalCode;
  /** XPath, such as `domain/devices/disk[2]/driver/@cache`; empty when the text is not a document. */
  readonly path: string;
  readonly what: string;
  /** The remedy for the operator. */
  readonly next: string;
}

/** Formats a refusal as one line that is safe to print, whatever the document contains. */
export const describeRefusal = ({ line, column, path, what, next }: Refusal): string =>
  printable(`line ${line}, column ${column}: ${path === "" ? "" : `${path}: `}${what}; ${next}`);

/** The XML cannot be used. `refusals` are in the order of the text, and never empty. */
export class DomainXmlError extends Error {
  override readonly name = "DomainXmlError";
  readonly refusals: readonly [Refusal, ...Refusal[]];

  constructor(refusals: readonly [Refusal, ...Refusal[]], options?: ErrorOptions) {
    super(refusals.map(describeRefusal).join("\n"), options);
    this.refusals = refusals;
  }
}

/** Returns one error for all refusals. @throws Error for an empty list, which is a bug. */
export function allOf(refusals: readonly Refusal[]): DomainXmlError {
  const [first, ...rest] = refusals.toSorted((a, b) => a.line - b.line || a.column - b.column);
  if (first === undefined) throw new Error("nothing was refused");
  return new DomainXmlError([first, ...rest]);
}
