// The caller's side of a connection: several calls in flight, matched by serial; messages to their listeners in wire
// order; streams. What a call may have done when its answer is missing is told by the kind of error (errors.ts).

import type { Duplex } from "node:stream";
import { apart } from "../../../effects/isolate-callback.js";
import type { Clock } from "../../../effects/ports.js";
import { Channel } from "./channel.js";
import {
  type RpcDisconnectedError,
  type RpcError,
  RpcGivenUpError,
  RpcProtocolError,
  RpcTimeoutError,
  RpcUnsentError,
} from "./errors.js";
import type { Frame, Header } from "./frame.js";
import type { KeepaliveTimes } from "./keepalive.js";
import { errorStruct, LibvirtError } from "./libvirt-error.js";
import type { Message, Procedure } from "./program.js";
import type { RpcStream } from "./stream.js";
import { decode, encode } from "./xdr.js";
import { XdrError } from "./xdr-bytes.js";

export interface CallOptions {
  /** Default: 30 s. `Infinity` waits for as long as the connection lives. */
  readonly deadlineMs?: number;
  /** Ends the wait; the call itself goes on at the other side. */
  readonly signal?: AbortSignal | undefined;
}

interface Pending {
  readonly procedure: Procedure<unknown, unknown>;
  reply(frame: Frame): void;
  fail(error: RpcError): void;
}

const defaultDeadlineMs = 30_000;
/** Longer, and a timer would fire at once. */
const maxTimerMs = 2 ** 31 - 1;

export class RpcConnection {
  readonly #clock: Clock;
  readonly #channel: Channel;
  readonly #pending = new Map<number, Pending>();
  readonly #listeners = new Map<string, Set<(body: Uint8Array) => void>>();
  #nextSerial = 0;
  #close: (why: RpcDisconnectedError) => void = () => {};

  /** Resolves, never rejects, when the connection has ended. */
  readonly closed: Promise<RpcDisconnectedError>;

  constructor(socket: Duplex, clock: Clock) {
    this.#clock = clock;
    this.closed = new Promise((resolve) => {
      this.#close = resolve;
    });
    this.#channel = new Channel(socket, clock, {
      role: "client",
      receive: (frame) => this.#receive(frame),
      ended: (why) => {
        for (const pending of [...this.#pending.values()]) pending.fail(why);
        this.#close(why);
      },
    });
  }

  /**
   * @throws LibvirtError the peer's no; RpcUnsentError: no effect; RpcTimeoutError, RpcGivenUpError,
   * RpcDisconnectedError, and RpcProtocolError for an answer that cannot be read: it may have had its effect.
   */
  call<A, R>(procedure: Procedure<A, R, false>, args: A, options: CallOptions = {}): Promise<R> {
    return this.#send(procedure, args, options, (frame) => answerOf(procedure, frame));
  }

  /** The same for a procedure that opens a stream. */
  open<A, R>(
    procedure: Procedure<A, R, true>,
    args: A,
    options: CallOptions = {},
  ): Promise<{ ret: R; stream: RpcStream }> {
    return this.#send(procedure, args, options, (frame) => ({
      ret: answerOf(procedure, frame),
      stream: this.#openStream(frame.header),
    }));
  }

  /** Messages in wire order, in the turn in which their bytes arrive. One that cannot be read ends the connection. */
  on<T>(message: Message<T>, listener: (body: T) => void): () => void {
    const key = keyOf(message.program.number, message.number);
    const listeners = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, listeners);
    const tell = (bytes: Uint8Array) => {
      const body = decode(message.body, bytes);
      apart(() => listener(body));
    };
    listeners.add(tell);
    return () => listeners.delete(tell);
  }

  /** Pings the peer from now on, and closes the connection when it is dead. */
  startKeepalive(times: KeepaliveTimes): void {
    this.#channel.startKeepalive(times);
  }

  /** Closes our end; pending calls are rejected. */
  close(): void {
    this.#channel.end("we closed the connection");
  }

  async #send<A, R, T>(
    procedure: Procedure<A, R>,
    args: A,
    { deadlineMs = defaultDeadlineMs, signal }: CallOptions,
    read: (reply: Frame) => T,
  ): Promise<T> {
    const { name } = procedure;
    const body = encode(procedure.args, args);
    const { ended } = this.#channel;
    if (ended !== undefined) throw new RpcUnsentError(name, ended);
    if (signal?.aborted) throw new RpcUnsentError(name, signal.reason);
    const serial = this.#nextSerial++ >>> 0;
    return new Promise((resolve, reject) => {
      const settle = () => {
        this.#clock.clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        this.#pending.delete(serial);
      };
      const reply = (frame: Frame) => {
        settle();
        try {
          resolve(read(frame));
        } catch (error) {
          reject(error);
        }
      };
      const fail = (error: RpcError) => {
        settle();
        reject(error);
      };
      const giveUp = (error: RpcError) => {
        fail(error);
        // Nobody would finish the stream that a late reply opens.
        if (procedure.stream) this.#pending.set(serial, { procedure, reply: abortStream, fail: () => {} });
      };
      const abortStream = ({ header }: Frame) => {
        this.#pending.delete(serial);
        if (header.status === "ok") this.#openStream(header).destroy();
      };
      const abort = () => giveUp(new RpcGivenUpError(name, signal?.reason));
      const timer =
        deadlineMs > maxTimerMs
          ? undefined
          : this.#clock.setTimeout(() => giveUp(new RpcTimeoutError(name, deadlineMs)), deadlineMs);
      signal?.addEventListener("abort", abort, { once: true });
      this.#pending.set(serial, { procedure, reply, fail });
      const { number: program, version } = procedure.program;
      const header = { program, version, procedure: procedure.number, serial } as const;
      this.#channel.send({ ...header, type: "call", status: "ok" }, body);
    });
  }

  #openStream(header: Header): RpcStream {
    const stream = this.#channel.openStream(header);
    stream.opened();
    return stream;
  }

  #receive(frame: Frame): void {
    const { program, procedure, type, serial } = frame.header;
    if (type === "message") {
      for (const tell of this.#listeners.get(keyOf(program, procedure)) ?? []) tell(frame.body);
    } else if (type === "reply") {
      const pending = this.#pending.get(serial);
      // None: the answer is late, its call was given up.
      if (pending === undefined) return;
      const { number, program: asked, name } = pending.procedure;
      if (number !== procedure || asked.number !== program) {
        throw new RpcProtocolError(
          `the answer to ${name} names procedure ${procedure} of program ${program}`,
        );
      }
      pending.reply(frame);
    } else {
      throw new RpcProtocolError(`a server sends no ${type}`);
    }
  }
}

const keyOf = (program: number, procedure: number): string => `${program}/${procedure}`;

/** @throws LibvirtError the peer's no, RpcProtocolError when there is no reading it. */
function answerOf<A, R>({ name, ret }: Procedure<A, R>, { header, body }: Frame): R {
  try {
    if (header.status === "ok") return decode(ret, body);
    throw new LibvirtError(decode(errorStruct, body));
  } catch (error) {
    if (!(error instanceof XdrError)) throw error;
    throw new RpcProtocolError(`the answer to ${name} cannot be read: ${error.message}`, { cause: error });
  }
}
