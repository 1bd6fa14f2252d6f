// The caller's side of a connection: concurrent calls, matched by serial; messages, delivered to listeners in wire order;
// streams. The error class tells whether a call without an answer may have had an effect (errors.ts).

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
  /** Default: 30 s. `Infinity` waits for as long as the connection is open. */
  readonly deadlineMs?: number;
  /** Ends the wait; the peer may still carry out the call. */
  readonly signal?: AbortSignal | undefined;
}

interface Pending {
  readonly procedure: Procedure<unknown, unknown>;
  reply(frame: Frame): void;
  fail(error: RpcError): void;
}

const defaultDeadlineMs = 30_000;
/** Maximum delay of a Node timer; a longer one would fire at once. */
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
   * @throws LibvirtError when the peer rejects the call; RpcUnsentError when the call had no effect; RpcTimeoutError,
   * RpcGivenUpError, RpcDisconnectedError, and RpcProtocolError (unreadable answer) when it may have had an effect.
   */
  call<A, R>(procedure: Procedure<A, R, false>, args: A, options: CallOptions = {}): Promise<R> {
    return this.#send(procedure, args, options, (frame) => answerOf(procedure, frame));
  }

  /** Calls a procedure that opens a stream. */
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

  /** Subscribes to a message; delivery is in wire order and synchronous with arrival. An unreadable message ends the connection. */
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

  /** Starts to ping the peer, and closes the connection when the peer is dead. */
  startKeepalive(times: KeepaliveTimes): void {
    this.#channel.startKeepalive(times);
  }

  /** Closes the connection; pending calls are rejected. */
  close(): void {
    this.#channel.end("this side closed the connection");
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
        // A late reply would open a stream without a consumer: abort it.
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
      // Undefined for a late answer, to a call that was given up.
      if (pending === undefined) return;
      const { number, program: asked, name } = pending.procedure;
      if (number !== procedure || asked.number !== program) {
        throw new RpcProtocolError(
          `the answer to ${name} names procedure ${procedure} of program ${program}`,
        );
      }
      pending.reply(frame);
    } else {
      throw new RpcProtocolError(`a server must not send a message of type ${type}`);
    }
  }
}

const keyOf = (program: number, procedure: number): string => `${program}/${procedure}`;

/** @throws LibvirtError when the peer rejected the call, RpcProtocolError when the answer cannot be read. */
function answerOf<A, R>({ name, ret }: Procedure<A, R>, { header, body }: Frame): R {
  try {
    if (header.status === "ok") return decode(ret, body);
    throw new LibvirtError(decode(errorStruct, body));
  } catch (error) {
    if (!(error instanceof XdrError)) throw error;
    throw new RpcProtocolError(`the answer to ${name} cannot be read: ${error.message}`, { cause: error });
  }
}
