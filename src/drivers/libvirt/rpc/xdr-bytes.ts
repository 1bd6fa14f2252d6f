// Reader and writer of XDR bytes: the writer grows up to one message, the reader never reads past the end. Both track their
// position in the value, so that every error names its field.

export class XdrError extends Error {
  override readonly name = "XdrError";
  constructor(
    /** Position in the value, such as `params[3].field`; empty for the value itself. */
    readonly path: string,
    readonly problem: string,
  ) {
    super(path === "" ? problem : `${path}: ${problem}`);
  }
}

abstract class Place {
  readonly #path: (string | number)[] = [];

  /** Processes one part of a value; an error in it names the part. */
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

/** Rounds up to a multiple of 4 bytes. */
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

  /** Returns a view of the next bytes. Every read goes through it, so that nothing longer than the message is allocated. */
  take(length: number): Buffer {
    if (length > this.bytesLeft) this.fail(`needs ${length} bytes, but ${this.bytesLeft} are left`);
    const start = this.#offset;
    this.#offset += length;
    return this.#bytes.subarray(start, this.#offset);
  }

  /** Also skips the padding, which need not be zeros: libvirt does not require it either. */
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

  /** Reads a number of elements; rejects more than allowed, and more than the remaining bytes can hold. */
  count(most: number, minBytesEach: number): number {
    const count = this.take(4).readUInt32BE();
    if (count > most) this.fail(`${count} elements are more than ${most}`);
    if (count * minBytesEach > this.bytesLeft) {
      this.fail(`${count} elements do not fit into the ${this.bytesLeft} bytes that are left`);
    }
    return count;
  }

  choice<T>(options: ReadonlyMap<number, T>): T {
    const number = this.take(4).readInt32BE();
    return options.get(number) ?? this.fail(`${number} is not one of ${[...options.keys()].join(", ")}`);
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

  /** Returns a zeroed view for the next bytes. */
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
