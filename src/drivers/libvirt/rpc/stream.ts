// The bytes that follow a call on its serial, as a Duplex: `end()` finishes and waits for the other side's finish,
// `destroy()` aborts. Nothing on the wire limits the flow: who cannot take more stops reading the whole connection.

import { Duplex } from "node:stream";
import { messageOf } from "../../../protocol/effect-result.js";
import { RpcProtocolError, RpcStreamAbortedError } from "./errors.js";
import type { Header } from "./frame.js";
import { errorCodes, errorDomains, errorStruct, LibvirtError } from "./libvirt-error.js";
import { decode, encode } from "./xdr.js";

type Status = Header["status"];

/** The stream's place on its connection. */
export interface StreamWire {
  /** A server says why it aborts and confirms an abort; a client does neither. */
  readonly role: "client" | "server";
  send(status: Status, body: Uint8Array, flushed: (error?: Error | null) => void): void;
  /** Stops, or lets go on, the reading of the whole connection. */
  holdReading(hold: boolean): void;
  closed(): void;
}

/** What virsh sends at a time; libvirt takes up to 262 120. */
const packetBytes = 65_536;
/** A consumer may lag behind by this much before the connection has to wait for it. */
const aheadBytes = 1024 * 1024;

const empty = Buffer.alloc(0);

/** Pipe it or listen to it: `for await` destroys what it has read to the end, as it does with every Duplex. */
export class RpcStream extends Duplex {
  readonly #wire: StreamWire;
  readonly #opening: Promise<void>;
  #open: () => void = () => {};
  #finish: (() => void) | undefined;
  #hasAllData = false;
  #peerFinished = false;
  /** No more packets of ours: both have finished, or the abort is already known to the peer. */
  #over = false;

  constructor(wire: StreamWire) {
    super({ readableHighWaterMark: aheadBytes });
    this.#wire = wire;
    this.#opening = new Promise((resolve) => {
      this.#open = resolve;
    });
    // A peer's abort must not end a process that has not asked about it; whoever waits for the stream is told.
    this.on("error", () => {});
  }

  /** @throws RpcProtocolError when data comes after the end of the data. */
  receive(status: Status, body: Uint8Array): void {
    if (this.destroyed) return;
    if (status === "error") {
      this.#over = true;
      if (this.#wire.role === "server") this.#wire.send("ok", empty, () => {});
      this.destroy(body.length > 0 ? errorOf(body) : new RpcStreamAbortedError("the other side has aborted"));
    } else if (status === "continue" && body.length > 0) {
      if (this.#hasAllData) throw new RpcProtocolError("a stream goes on after its end");
      if (!this.push(body)) this.#wire.holdReading(true);
    } else {
      if (!this.#hasAllData) this.push(null);
      this.#hasAllData = true;
      if (status === "ok") this.#finishedByPeer();
    }
  }
  /** The call has succeeded; until now nothing was sent. */
  opened(): void {
    this.#open();
  }

  /** The call has failed: there is nothing to abort. */
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
    // An empty packet would be the end of the data.
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
