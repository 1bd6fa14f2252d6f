// One client of a server: runs a limited number of its calls at once, urgent ones immediately, and answers each when its
// handler is done. A misbehaving client affects no other client, whatever it sends or does not read.

import type { Duplex } from "node:stream";
import { apart } from "../../../effects/isolate-callback.js";
import type { Clock } from "../../../effects/ports.js";
import { messageOf } from "../../../protocol/effect-result.js";
import { Channel } from "./channel.js";
import { type RpcDisconnectedError, RpcProtocolError } from "./errors.js";
import type { Frame, Header } from "./frame.js";
import type { KeepaliveTimes } from "./keepalive.js";
import { errorCodes, errorDomains, errorStruct, LibvirtError, rpcError } from "./libvirt-error.js";
import type { Message, Procedure } from "./program.js";
import type { ClientIdentity, RpcClient, Served, Service } from "./service.js";
import { decode, encode } from "./xdr.js";
import { XdrError } from "./xdr-bytes.js";

export interface ServingOptions {
  readonly clock: Clock;
  readonly services: readonly Service[];
  /** Maximum number of concurrent calls of one client, without urgent ones. Default: 5. */
  readonly maxClientRequests?: number;
  /** Maximum number of messages queued for a client that does not read. Default: 65,536; always at most 64 MiB. */
  readonly maxQueuedMessages?: number;
  /** Keepalive for clients that request it; null: no pings are sent. Default: libvirt's, 5 s and 5 pings. */
  readonly keepalive?: KeepaliveTimes | null;
  /** Receives an exception of a handler that is not a LibvirtError: a bug, which the client sees as an internal error. */
  readonly onError?: (error: unknown, procedure: string) => void;
}

interface Call {
  readonly header: Header;
  readonly body: Uint8Array;
  /** The handler, or the reason why the procedure does not exist. */
  readonly served: Served | string;
}

const isUrgent = ({ served }: Call): boolean => typeof served === "string" || served.procedure.urgent;

const defaultRequests = 5;
const defaultKeepalive: KeepaliveTimes = { intervalMs: 5_000, count: 5 };
/** Limits of the queue before reading is suspended: calls, as a multiple of the concurrent ones, and bytes. */
const maxAhead = 4;
const maxWaitingBytes = 1024 * 1024;

/** Access classes that a read-only connection may call; every other class is refused. */
const readable: ReadonlySet<string> = new Set(["read", "own"]);

const readOnlyRefusal = (name: string): LibvirtError =>
  new LibvirtError({
    code: errorCodes.OPERATION_DENIED,
    domain: errorDomains.RPC,
    message: `operation forbidden: read only access prevents ${name}`,
  });

export class ServerClient implements RpcClient {
  readonly id: number;
  readonly identity: ClientIdentity;
  readOnly: boolean;
  readonly closed: Promise<RpcDisconnectedError>;
  readonly #options: ServingOptions;
  readonly #channel: Channel;
  readonly #most: number;
  /** Calls whose reply has not been sent yet. */
  readonly #running = new Set<Call>();
  readonly #waiting: Call[] = [];
  #ordinary = 0;
  #idle: (() => void) | undefined;

  constructor(socket: Duplex, who: Pick<RpcClient, "id" | "identity" | "readOnly">, options: ServingOptions) {
    this.id = who.id;
    this.identity = who.identity;
    this.readOnly = who.readOnly;
    this.#options = options;
    this.#most = options.maxClientRequests ?? defaultRequests;
    let close: (why: RpcDisconnectedError) => void = () => {};
    this.closed = new Promise((resolve) => {
      close = resolve;
    });
    this.#channel = new Channel(socket, options.clock, {
      role: "server",
      ...(options.maxQueuedMessages !== undefined && { maxQueuedMessages: options.maxQueuedMessages }),
      receive: (frame) => this.#receive(frame),
      ended: (why) => {
        this.#waiting.length = 0;
        close(why);
      },
    });
  }

  send<T>(message: Message<T>, body: T): void {
    const { number: program, version } = message.program;
    this.#channel.send(
      { program, version, procedure: message.number, type: "message", serial: 0, status: "ok" },
      encode(message.body, body),
    );
  }

  startKeepalive(): boolean {
    const { keepalive = defaultKeepalive } = this.#options;
    if (keepalive !== null) this.#channel.startKeepalive(keepalive);
    return keepalive !== null;
  }

  close(why: string): void {
    this.#channel.end(why);
  }

  /** Stops accepting calls; resolves when the running calls are answered. */
  async drain(): Promise<void> {
    this.#channel.holdReading("draining", true);
    this.#waiting.length = 0;
    if (this.#running.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
  }

  #receive({ header, body }: Frame): void {
    const { type } = header;
    if (type !== "call" && type !== "callWithFds")
      throw new RpcProtocolError(`a client must not send a message of type ${type}`);
    this.#waiting.push({ header, body, served: this.#servedBy(header) });
    this.#advance();
  }

  #servedBy({ program, version, procedure, type, status }: Header): Served | string {
    const service = this.#options.services.find(
      (served) => served.program === program && served.version === version,
    );
    if (service === undefined) return `Cannot find program ${program} version ${version}`;
    // File descriptors are never negotiated, and Node cannot receive them.
    if (type === "callWithFds") return "Unexpected message type 4";
    if (status !== "ok") return `Unexpected message status ${status}`;
    return service.served.get(procedure) ?? `unknown procedure: ${procedure}`;
  }

  #advance(): void {
    for (const call of [...this.#waiting]) {
      if (!isUrgent(call) && this.#ordinary >= this.#most) continue;
      this.#waiting.splice(this.#waiting.indexOf(call), 1);
      void this.#run(call);
    }
    const waitingBytes = this.#waiting.reduce((sum, { body }) => sum + body.length, 0);
    const inFlight = this.#running.size + this.#waiting.length;
    this.#channel.holdReading(this, inFlight >= maxAhead * this.#most || waitingBytes > maxWaitingBytes);
  }

  async #run(call: Call): Promise<void> {
    const ordinary = isUrgent(call) ? 0 : 1;
    this.#running.add(call);
    this.#ordinary += ordinary;
    await this.#answer(call);
    this.#running.delete(call);
    this.#ordinary -= ordinary;
    this.#advance();
    if (this.#running.size === 0) this.#idle?.();
  }

  async #answer({ header, body, served }: Call): Promise<void> {
    if (typeof served === "string") {
      await this.#refuse(header, rpcError(served));
      return;
    }
    const { procedure, handle } = served;
    // Checked before the arguments are decoded, so that no input of such a client is parsed.
    if (this.readOnly && !readable.has(procedure.access)) {
      await this.#refuse(header, readOnlyRefusal(procedure.name));
      return;
    }
    const stream = procedure.stream ? this.#channel.openStream(header) : undefined;
    try {
      const ret = await handle(argsOf(procedure, body), this, stream);
      const sent = this.#reply(header, "ok", encode(procedure.ret, ret));
      stream?.opened();
      await sent;
    } catch (error) {
      const no = this.#noFor(error, procedure.name);
      stream?.neverOpened(no);
      await this.#refuse(header, no);
    }
  }

  #noFor(error: unknown, procedure: string): LibvirtError {
    if (error instanceof LibvirtError) return error;
    apart(() => this.#options.onError?.(error, procedure));
    const message = `internal error: ${messageOf(error)}`;
    return new LibvirtError({ code: errorCodes.INTERNAL_ERROR, domain: errorDomains.RPC, message });
  }

  #refuse(header: Header, no: LibvirtError): Promise<void> {
    return this.#reply(header, "error", encode(errorStruct, no.toWire()));
  }

  /** Resolves when the reply has been sent, or cannot be. */
  #reply(header: Header, status: "ok" | "error", body: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      this.#channel.send({ ...header, type: "reply", status }, body, () => resolve());
    });
  }
}

function argsOf<A>({ args }: Procedure<A, unknown>, body: Uint8Array): A {
  try {
    return decode(args, body);
  } catch (error) {
    if (!(error instanceof XdrError)) throw error;
    throw rpcError("Unable to decode message payload", { cause: error });
  }
}
