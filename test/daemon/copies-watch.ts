// Observes a guest from outside while faults happen: at no moment do two of its QEMUs count on (G1). Each copy writes to a
// serial file of its own; the checker of the counts afterwards finds a copy that counted the same numbers again.

import type { ProofDomain } from "./lab.js";

const everyMs = 40;

export class CopiesWatch {
  readonly #guest: ProofDomain;
  readonly #timer: NodeJS.Timeout;
  #sizes: ReadonlyMap<string, number>;
  #grown: readonly string[] = [];
  #two: string | undefined;

  constructor(guest: ProofDomain) {
    this.#guest = guest;
    this.#sizes = guest.serialSizes();
    this.#timer = setInterval(() => this.#look(), everyMs);
  }

  /** A handover lets both files grow between two looks, but not twice in a row. */
  #look(): void {
    const sizes = this.#guest.serialSizes();
    const grown = [...sizes].filter(([path, size]) => size > (this.#sizes.get(path) ?? 0));
    const paths = grown.map(([path]) => path);
    this.#sizes = sizes;
    const both = paths.filter((path) => this.#grown.includes(path));
    this.#grown = paths;
    if (both.length > 1) this.#two ??= `these serial files grew at once: ${both.join(", ")}`;
  }

  /** What it saw of two copies; undefined when it saw none. */
  get two(): string | undefined {
    return this.#two;
  }

  end(): void {
    clearInterval(this.#timer);
  }
}
