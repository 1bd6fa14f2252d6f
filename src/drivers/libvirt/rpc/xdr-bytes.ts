// The two ends of an XDR encoding: a writer that grows up to one message, and a reader that grants no byte that is not
// there. Both know where in the value they stand, so that every error names its field.

export class XdrError extends Error {
  override readonly name = "XdrError";
  constructor(
    /** Where in the value, e.g. `params[3].field`; empty for the value itself. */
    readonly path: string,
    readonly problem: string,
  ) {
    super(path === "" ? problem : `${path}: ${problem}`);
  }
}

abstract class Place {
  readonly #path: (string | number)[] = [];

  /** Does one part of a value; what goes wrong in it is told with its name. */
  within<T>(part: string | number, run: () => T): T {
    this.#path.push(part);
    const done = run();
    this.#path.pop();
    return done;
  }

  fail(problem: string): never {
    const steps = this.#path.map((step) => (typeof step === "number" ? `[${step}]` : `.${step}`));
    throw new XdrError(steps.join("").replace(/^\./, ""), problem);
  }
}

const paddingOf = (length: number): number => (4 - (length % 4)) % 4;

/** Everything is a multiple of 4 bytes. */
export const padded = (length: number): number => length + paddingOf(length);

export class XdrReader extends Place {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    super();
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get bytesLeft(): number {
    return this.#bytes.length - this.#offset;
  }

  /** The next bytes, not copied; the only way to any byte, so nothing longer than the message is ever allocated. */
  take(length: number): Buffer {
    if (length > this.bytesLeft) this.fail(`wants ${length} bytes where ${this.bytesLeft} are left`);
    const start = this.#offset;
    this.#offset += length;
    return this.#bytes.subarray(start, this.#offset);
  }

  /** The same with the padding after it, which libvirt does not insist to be zeros, so neither do we. */
  takePadded(length: number): Buffer {
    const bytes = this.take(length);
    this.take(paddingOf(length));
    return bytes;
  }

  integer(least: number, most: number): number {
    const bytes = this.take(4);
    const value = least < 0 ? bytes.readInt32BE() : bytes.readUInt32BE();
    return value > most ? this.fail(`${value} is more than ${most}`) : value;
  }

  /** How many elements of at least so many bytes follow: never more than may, nor than there can be. */
  count(most: number, minBytesEach: number): number {
    const count = this.take(4).readUInt32BE();
    if (count > most) this.fail(`${count} of them are more than ${most}`);
    if (count * minBytesEach > this.bytesLeft) {
      this.fail(`${count} of them do not fit into the ${this.bytesLeft} bytes that are left`);
    }
    return count;
  }

  choice<T>(options: ReadonlyMap<number, T>): T {
    const number = this.take(4).readInt32BE();
    return options.get(number) ?? this.fail(`${number} is none of ${[...options.keys()].join(", ")}`);
  }
}

export class XdrWriter extends Place {
  readonly #limit: number;
  #bytes = Buffer.alloc(256);
  #length = 0;

  constructor(limit: number) {
    super();
    this.#limit = limit;
  }

  /** Room for the next bytes, all zeros. */
  room(length: number): Buffer {
    const end = this.#length + length;
    if (end > this.#limit) this.fail(`makes the message longer than ${this.#limit} bytes`);
    if (end > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(end, this.#bytes.length * 2));
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    const start = this.#length;
    this.#length = end;
    return this.#bytes.subarray(start, end);
  }

  written(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }
}
