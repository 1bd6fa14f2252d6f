// Encodes and decodes messages: a length word, six words of header, a body (virnetprotocol.x). It is independent of the procedures.

import { RpcProtocolError } from "./errors.js";
import { decode, encode, enumeration, int, uint, type XdrValue } from "./xdr.js";
import { XdrError } from "./xdr-bytes.js";
import { struct } from "./xdr-compound.js";

const header = struct({
  program: uint,
  version: uint,
  procedure: int,
  type: enumeration({ call: 0, reply: 1, message: 2, stream: 3, callWithFds: 4, replyWithFds: 5 }),
  serial: uint,
  status: enumeration({ ok: 0, error: 1, continue: 2 }),
});

export type Header = XdrValue<typeof header>;
export interface Frame {
  readonly header: Header;
  /** A view of the received bytes, which are never overwritten. */
  readonly body: Uint8Array;
}

const lengthBytes = 4;
const shortest = lengthBytes + header.minBytes;
/** Maximum message length. libvirt's limit does not include the length word. */
const longest = 16_777_216 + lengthBytes;

export function encodeFrame(fields: Header, body: Uint8Array): Buffer {
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt32BE(shortest + body.length);
  return Buffer.concat([length, encode(header, fields), body]);
}

/** Splits a byte stream into messages, however it arrives. It holds at most twice the received bytes. */
export class FrameSplitter {
  #held: Buffer = Buffer.alloc(0);
  #heldBytes = 0;

  /** @throws RpcProtocolError for an invalid length, before memory is allocated for it, and for an invalid header. */
  push(bytes: Uint8Array): Frame[] {
    const frames: Frame[] = [];
    let rest = this.#append(bytes);
    for (
      let length = lengthOf(rest);
      length !== undefined && length <= rest.length;
      length = lengthOf(rest)
    ) {
      frames.push(decodeFrame(rest.subarray(0, length)));
      rest = rest.subarray(length);
    }
    if (frames.length > 0) {
      // Copy into a new buffer: the returned messages are views of the old one.
      this.#held = Buffer.from(rest);
      this.#heldBytes = rest.length;
    }
    return frames;
  }

  #append(bytes: Uint8Array): Buffer {
    if (this.#heldBytes === 0) {
      this.#held = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    } else {
      const needed = this.#heldBytes + bytes.length;
      if (needed > this.#held.length) {
        const larger = Buffer.alloc(Math.max(needed, this.#held.length * 2));
        this.#held.copy(larger, 0, 0, this.#heldBytes);
        this.#held = larger;
      }
      this.#held.set(bytes, this.#heldBytes);
    }
    this.#heldBytes += bytes.length;
    return this.#held.subarray(0, this.#heldBytes);
  }
}

function lengthOf(bytes: Buffer): number | undefined {
  if (bytes.length < lengthBytes) return undefined;
  const length = bytes.readUInt32BE();
  if (length < shortest || length > longest) {
    throw new RpcProtocolError(`the message length ${length} is not in the range ${shortest} to ${longest}`);
  }
  return length;
}

function decodeFrame(bytes: Buffer): Frame {
  try {
    return {
      header: decode(header, bytes.subarray(lengthBytes, shortest)),
      body: bytes.subarray(shortest),
    };
  } catch (error) {
    if (!(error instanceof XdrError)) throw error;
    throw new RpcProtocolError(`the message header is not valid: ${error.message}`, { cause: error });
  }
}
