// Observes a guest from outside while faults happen and checks that no two of its QEMUs ever run at once (G1). Each copy writes
// to its own serial file; the continuity check finds afterwards a copy that repeated numbers.

const everyMs = 40;

/** The observed object: returns how many bytes each QEMU of a guest has written so far, by the path of its serial file. */
interface Observed {
  serialSizes(): ReadonlyMap<string, number>;
}

/**
 * A guest that moves leaves one file for good and continues in another. A file that grows again after another one has grown
 * therefore belongs to a second copy.
 */
export class CopiesWatch {
  readonly #guest: Observed;
  readonly #timer: NodeJS.Timeout;
  readonly #firstGrewAt = new Map<string, number>();
  /** For each file: the sample at which another file was first seen to have grown after it. */
  readonly #followedAt = new Map<string, number>();
  #sizes: ReadonlyMap<string, number>;
  #latest: string | undefined;
  #looks = 0;
  #two: string | undefined;

  constructor(guest: Observed) {
    this.#guest = guest;
    this.#sizes = guest.serialSizes();
    this.#timer = setInterval(() => this.look(), everyMs);
  }

  /** Compares the sizes with those of the last sample; the timer does so too. */
  look(): void {
    this.#looks += 1;
    const before = this.#sizes;
    this.#sizes = this.#guest.serialSizes();
    const grown = [...this.#sizes].filter(([path, size]) => size > (before.get(path) ?? 0));
    const [latest] = grown.at(-1) ?? [];
    this.#latest = latest ?? this.#latest;
    for (const [path] of grown) {
      const followedAt = this.#followedAt.get(path);
      if (followedAt === undefined) this.#follow(path);
      // The sizes are not sampled at one instant: what a copy wrote just before its handover appears one sample later.
      else if (this.#looks > followedAt + 1)
        this.#two ??= `${path} has grown again after another copy had counted on`;
    }
    for (const [path] of grown) if (!this.#firstGrewAt.has(path)) this.#firstGrewAt.set(path, this.#looks);
  }

  #follow(path: string): void {
    for (const [other, firstAt] of this.#firstGrewAt)
      if (other !== path && firstAt < this.#looks && !this.#followedAt.has(other))
        this.#followedAt.set(other, this.#looks);
  }

  /** Describes the second copy that was observed; undefined when there was none. */
  get two(): string | undefined {
    return this.#two;
  }

  /** The file that has grown last; undefined when no file has grown. */
  get latest(): string | undefined {
    return this.#latest;
  }

  end(): void {
    clearInterval(this.#timer);
  }
}
