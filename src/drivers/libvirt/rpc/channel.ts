// A message channel over one socket, the same on both sides: splits and sends messages, answers pings at once, routes
// streams, and ends once, with a reason. It is independent of the procedures.

import type { Duplex } from "node:stream";
import type { Clock } from "../../../effects/ports.js";
import { messageOf } from "../../../protocol/effect-result.js";
import { RpcDisconnectedError, RpcProtocolError, RpcUnreadError } from "./errors.js";
import { encodeFrame, type Frame, FrameSplitter, type Header } from "./frame.js";
import { Keepalive, type KeepaliveTimes, keepaliveProgram, ping, pingProcedure, pong } from "./keepalive.js";
import { RpcStream } from "./stream.js";
import { XdrError } from "./xdr-bytes.js";

export interface ChannelSide {
  readonly role: "client" | "server";
  /** Maximum number of messages queued for a peer that does not read. Default: 65,536. */
  readonly maxQueuedMessages?: number;
  /** Receives calls, replies and messages; a protocol error that it throws ends the channel. */
  receive(frame: Frame): void;
  ended(why: RpcDisconnectedError): void;
}

/** Maximum number of bytes queued for a peer that does not read; beyond it the connection is closed. */
const maxUnreadBytes = 64 * 1024 * 1024;
const defaultUnreadMessages = 65_536;

export class Channel {
  readonly #socket: Duplex;
  readonly #clock: Clock;
  readonly #side: ChannelSide;
  readonly #frames = new FrameSplitter();
  readonly #streams = new Map<number, RpcStream>();
  /** The parties that currently suspend reading. */
  readonly #holders = new Set<unknown>();
  #keepalive: Keepalive | undefined;
  #unread = 0;
  #pongWaits = false;
  #ended: RpcDisconnectedError | undefined;

  constructor(socket: Duplex, clock: Clock, side: ChannelSide) {
    this.#socket = socket;
    this.#clock = clock;
    this.#side = side;
    socket.on("data", (bytes: Uint8Array) => this.#receive(bytes));
    socket.on("error", (error) => this.end(`the connection broke: ${error.message}`, error));
    socket.on("end", () => this.end("the peer closed the connection"));
    socket.on("close", () => this.end("the connection closed"));
  }

  /** The reason for the end; undefined while the channel is open. */
  get ended(): RpcDisconnectedError | undefined {
    return this.#ended;
  }

  /** `flushed` is called when the kernel has the bytes, or with the error when they cannot be sent. */
  send(header: Header, body: Uint8Array, flushed: (error?: Error | null) => void = () => {}): void {
    const bytes = this.#socket.writableLength;
    const maxMessages = this.#side.maxQueuedMessages ?? defaultUnreadMessages;
    if (this.#unread >= maxMessages || bytes > maxUnreadBytes) {
      const waiting = `${this.#unread} messages (${bytes} bytes) are queued`;
      this.#end(new RpcUnreadError(`the peer does not read: ${waiting}`));
    }
    if (this.#ended !== undefined) {
      flushed(this.#ended);
      return;
    }
    this.#unread += 1;
    this.#socket.write(encodeFrame(header, body), (error) => {
      this.#unread -= 1;
      flushed(error);
    });
  }

  holdReading(holder: unknown, hold: boolean): void {
    if (hold) this.#holders.add(holder);
    else this.#holders.delete(holder);
    if (this.#holders.size > 0) this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  startKeepalive(times: KeepaliveTimes): void {
    if (this.#ended !== undefined || this.#keepalive !== undefined) return;
    this.#keepalive = new Keepalive(this.#clock, times, {
      listens: () => this.#holders.size === 0,
      ask: () => this.send(ping, Buffer.alloc(0)),
      dead: () => this.end(`the peer is dead: ${times.count} pings were not answered`),
    });
  }

  /** Creates the stream that a call opens; it uses the call's program, procedure and serial. */
  openStream({ program, version, procedure, serial }: Header): RpcStream {
    const stream = new RpcStream({
      role: this.#side.role,
      send: (status, body, flushed) =>
        this.send({ program, version, procedure, type: "stream", serial, status }, body, flushed),
      holdReading: (hold) => this.holdReading(stream, hold),
      closed: () => this.#streams.delete(serial),
    });
    this.#streams.set(serial, stream);
    return stream;
  }

  end(why: string, cause?: unknown): void {
    this.#end(new RpcDisconnectedError(why, { cause }));
  }

  #end(why: RpcDisconnectedError): void {
    if (this.#ended !== undefined) return;
    this.#ended = why;
    this.#keepalive?.stop();
    this.#socket.destroy();
    for (const stream of [...this.#streams.values()]) stream.destroy(why);
    this.#side.ended(why);
  }

  #receive(bytes: Uint8Array): void {
    try {
      for (const frame of this.#frames.push(bytes)) {
        if (this.#ended !== undefined) return;
        this.#keepalive?.heard();
        this.#dispatch(frame);
      }
    } catch (error) {
      if (!(error instanceof RpcProtocolError || error instanceof XdrError)) throw error;
      this.end(messageOf(error), error);
    }
  }

  #dispatch(frame: Frame): void {
    const { program, procedure, type, serial, status } = frame.header;
    if (program === keepaliveProgram) {
      if (procedure === pingProcedure) this.#pong();
    } else if (type === "stream") {
      // Undefined when the stream has already ended here: packets may still be in flight, since data is not acknowledged.
      this.#streams.get(serial)?.receive(status, frame.body);
    } else {
      this.#side.receive(frame);
    }
  }

  /** Answers a ping at once; a pong that is still queued answers further pings too. */
  #pong(): void {
    if (this.#pongWaits) return;
    this.#pongWaits = true;
    this.send(pong, Buffer.alloc(0), () => {
      this.#pongWaits = false;
    });
  }
}
