// The byte stream that follows a call on its serial, as a Duplex: `end()` finishes and waits for the peer's finish,
// `destroy()` aborts. The wire has no flow control: a slow consumer suspends reading from the whole connection.

import { Duplex } from "node:stream";
import { messageOf } from "../../../protocol/effect-result.js";
import { RpcProtocolError, RpcStreamAbortedError } from "./errors.js";
import type { Header } from "./frame.js";
import { errorCodes, errorDomains, errorStruct, LibvirtError } from "./libvirt-error.js";
import { decode, encode } from "./xdr.js";

type Status = Header["status"];

/** A stream's interface to its connection. */
export interface StreamWire {
  /** A server sends the reason of an abort and confirms the peer's abort; a client does neither. */
  readonly role: "client" | "server";
  send(status: Status, body: Uint8Array, flushed: (error?: Error | null) => void): void;
  /** Suspends or resumes reading from the whole connection. */
  holdReading(hold: boolean): void;
  closed(): void;
}

/** Packet size, as virsh uses it; libvirt accepts up to 262,120 bytes. */
const packetBytes = 65_536;
/** Bytes by which a consumer may lag before reading from the connection is suspended. */
const aheadBytes = 1024 * 1024;

const empty = Buffer.alloc(0);

/** Consume it with a pipe or listeners: `for await` destroys a Duplex after reading it to the end. */
export class RpcStream extends Duplex {
  readonly #wire: StreamWire;
  readonly #opening: Promise<void>;
  #open: () => void = () => {};
  #finish: (() => void) | undefined;
  #hasAllData = false;
  #peerFinished = false;
  /** True when nothing more is sent: both sides have finished, or the peer knows about the abort. */
  #over = false;

  constructor(wire: StreamWire) {
    super({ readableHighWaterMark: aheadBytes });
    this.#wire = wire;
    this.#opening = new Promise((resolve) => {
      this.#open = resolve;
    });
    // Without a listener, a peer's abort would end the process; waiting callers still receive the error.
    this.on("error", () => {});
  }

  /** @throws RpcProtocolError when data comes after the end of the data. */
  receive(status: Status, body: Uint8Array): void {
    if (this.destroyed) return;
    if (status === "error") {
      this.#over = true;
      if (this.#wire.role === "server") this.#wire.send("ok", empty, () => {});
      this.destroy(
        body.length > 0 ? errorOf(body) : new RpcStreamAbortedError("the peer aborted the stream"),
      );
    } else if (status === "continue" && body.length > 0) {
      if (this.#hasAllData) throw new RpcProtocolError("stream data follows the end of the stream");
      if (!this.push(body)) this.#wire.holdReading(true);
    } else {
      if (!this.#hasAllData) this.push(null);
      this.#hasAllData = true;
      if (status === "ok") this.#finishedByPeer();
    }
  }
  /** Called when the call has succeeded; nothing is sent before. */
  opened(): void {
    this.#open();
  }

  /** Called when the call has failed: there is no stream to abort. */
  neverOpened(error: Error): void {
    this.#over = true;
    this.#open();
    this.destroy(error);
  }

  override _construct(done: (error?: Error) => void): void {
    void this.#opening.then(() => done());
  }

  override _read(): void {
    this.#wire.holdReading(false);
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    // An empty packet would mark the end of the data.
    if (chunk.length === 0) {
      done();
      return;
    }
    this.#wire.send("continue", chunk.subarray(0, packetBytes), (error) => {
      if (error) done(error);
      else this._write(chunk.subarray(packetBytes), encoding, done);
    });
  }

  override _final(done: () => void): void {
    this.#finish = done;
    this.#wire.send("ok", empty, () => {});
    if (this.#peerFinished) this.#finishedByBoth();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.#over) {
      const says = this.#wire.role === "server" ? encode(errorStruct, wordsFor(error).toWire()) : empty;
      this.#wire.send("error", says, () => {});
    }
    this.#wire.holdReading(false);
    this.#wire.closed();
    done(error);
  }

  #finishedByPeer(): void {
    this.#peerFinished = true;
    if (this.#finish !== undefined) this.#finishedByBoth();
  }

  #finishedByBoth(): void {
    this.#over = true;
    this.#wire.closed();
    this.#finish?.();
  }
}

const errorOf = (body: Uint8Array): LibvirtError => new LibvirtError(decode(errorStruct, body));

const wordsFor = (error: Error | null): LibvirtError =>
  error instanceof LibvirtError
    ? error
    : new LibvirtError({
        code: errorCodes.RPC,
        domain: errorDomains.RPC,
        message: error === null ? "stream aborted" : messageOf(error),
      });
