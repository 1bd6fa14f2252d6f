// One session with one monitor: greeting, capabilities, commands by id, events in wire order, time limits. It does
// not interpret commands; commands.ts adds their types.

import type { Socket } from "node:net";
import { apart } from "../../../effects/isolate-callback.js";
import type { Clock } from "../../../effects/ports.js";
import { resolvesWithin } from "../../../effects/within.js";
import { messageOf } from "../../../protocol/effect-result.js";
import { decode, excerpt, type Json, type JsonObject, LineSplitter, type Message } from "./codec.js";
import {
  type DialogueLine,
  QmpCommandError,
  QmpConnectError,
  QmpDisconnectedError,
  type QmpError,
  QmpProtocolError,
  QmpTimeoutError,
  QmpUnsentError,
} from "./errors.js";

export type RawEvent = Extract<Message, { kind: "event" }>;

interface Pending {
  readonly command: string;
  settle(answer: { value: Json } | { error: QmpError }): void;
}

/** The connection under a session: one socket, or two named pipes. */
export interface Wire {
  readonly from: Socket;
  readonly to: Socket;
}

export interface SessionOptions {
  readonly clock: Clock;
  /** Requests out-of-band execution; it is granted only if QEMU offers it. */
  readonly oob: boolean;
  /** Limit for greeting and negotiation together, in milliseconds. */
  readonly deadlineMs: number;
  /** Ends the wait for greeting and negotiation at once, for example because the process died. */
  readonly signal?: AbortSignal | undefined;
}

const dialogueLength = 20;

export class QmpSession {
  #wire: Wire | undefined;
  readonly #options: SessionOptions;
  readonly #lines = new LineSplitter();
  readonly #pending = new Map<string, Pending>();
  readonly #listeners = new Set<(event: RawEvent) => void>();
  readonly #dialogue: DialogueLine[] = [];
  readonly #overhearing = new Set<(line: DialogueLine) => void>();
  readonly #greeted: Promise<boolean>;
  #greet: (oob: boolean) => void = () => {};
  #failGreeting: (error: QmpError) => void = () => {};
  #close: (error: QmpDisconnectedError) => void = () => {};
  #open: () => void = () => {};
  #isOpen = false;
  /** Distinguishes the commands of this session from those of an earlier client of the same pipes. */
  readonly #tag: string;
  #nextId = 0;
  /** Set while unread output for an earlier client is skipped: until the first reply to this session arrives. */
  #skipping = false;
  #oob = false;
  #ended: QmpDisconnectedError | undefined;

  /** Resolves when the monitor has closed; never rejects. */
  readonly closed: Promise<QmpDisconnectedError>;
  /** Resolves when commands can be sent; otherwise stays pending. */
  readonly opened: Promise<void>;

  private constructor(options: SessionOptions, tag = "") {
    this.#options = options;
    this.#tag = `switchover-${tag}`;
    this.opened = new Promise((resolve) => {
      this.#open = resolve;
    });
    this.closed = new Promise((resolve) => {
      this.#close = resolve;
    });
    this.#greeted = new Promise((resolve, reject) => {
      this.#greet = resolve;
      this.#failGreeting = reject;
    });
    this.#greeted.catch(() => {});
  }

  #connect(wire: Wire): void {
    this.#wire = wire;
    wire.from.on("data", (bytes: Uint8Array) => this.#receive(bytes));
    for (const end of new Set([wire.from, wire.to])) {
      end.on("error", (error) => this.#end(`the monitor connection failed: ${error.message}`, error));
      end.on("close", () => this.#end("the monitor closed"));
    }
  }

  /** Waits for the greeting and negotiates. @throws QmpConnectError when QEMU does not greet in time. */
  static async open(socket: Socket, options: SessionOptions): Promise<QmpSession> {
    const session = new QmpSession(options);
    const { clock, deadlineMs, signal } = options;
    const endMs = clock.now() + deadlineMs;
    const timer = clock.setTimeout(
      () =>
        session.#failGreeting(
          new QmpConnectError(
            `QEMU did not greet within ${deadlineMs} ms; a monitor socket serves one client, so another may hold it`,
            session.dialogue(),
          ),
        ),
      deadlineMs,
    );
    const abort = () => session.#end("the wait for the monitor was aborted", signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    try {
      session.#connect({ from: socket, to: socket });
      await session.#negotiate(() => Math.max(1, endMs - clock.now()));
      return session;
    } catch (error) {
      socket.destroy();
      throw error;
    } finally {
      clock.clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
  }

  /**
   * Continues over pipes whose capabilities an earlier client may have negotiated, which stay in effect. QEMU's main
   * loop, which may hang, is needed only when none has. @throws QmpError when QEMU does not answer in time.
   */
  static async resume(wire: Wire, options: SessionOptions): Promise<QmpSession> {
    const { clock, deadlineMs, signal } = options;
    const session = new QmpSession(options, `${process.pid}-${clock.now()}-`);
    const endMs = clock.now() + deadlineMs;
    const leftMs = () => Math.max(1, endMs - clock.now());
    const abort = () => session.#end("the wait for the monitor was aborted", signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    try {
      session.#skipping = true;
      session.#connect(wire);
      await session
        .#send("query-yank", {}, { limitMs: leftMs(), oob: true })
        .catch(async (error: unknown) => {
          if (!(error instanceof QmpCommandError)) throw error;
          await session.#send("qmp_capabilities", { enable: ["oob"] }, { limitMs: leftMs() });
        });
      session.#oob = true;
      session.#ready();
      return session;
    } catch (error) {
      session.close();
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /**
   * Creates a session with a QEMU that does not answer yet: each command waits for it as long as for a reply, and is
   * not sent if it never answers. `begin` receives the socket.
   */
  static later(options: Pick<SessionOptions, "clock">): QmpSession {
    return new QmpSession({ ...options, oob: false, deadlineMs: 0 });
  }

  /** Opens a session that `later` created, when QEMU answers. @throws QmpError */
  async begin(socket: Socket): Promise<void> {
    if (this.#ended !== undefined) {
      socket.destroy();
      throw this.#ended;
    }
    this.#connect({ from: socket, to: socket });
    // Another thread of QEMU may have sent the greeting while its main loop still hangs.
    await this.#negotiate(() => null);
  }

  async #negotiate(leftMs: () => number | null): Promise<void> {
    const offersOob = await this.#greeted;
    const enable = this.#options.oob && offersOob ? ["oob"] : [];
    await this.#send("qmp_capabilities", enable.length > 0 ? { enable } : {}, { limitMs: leftMs() });
    this.#oob = enable.length > 0;
    this.#ready();
  }

  #ready(): void {
    this.#isOpen = true;
    this.#open();
  }

  /** Creates a session with a QEMU that does not answer: nothing is sent. */
  static mute(options: SessionOptions): QmpSession {
    const session = new QmpSession(options);
    session.#end("QEMU does not answer");
    return session;
  }

  get hasOob(): boolean {
    return this.#oob;
  }

  /** Returns whether commands can be sent. */
  get isOpen(): boolean {
    return this.#isOpen && this.#ended === undefined;
  }

  get isClosed(): boolean {
    return this.#ended !== undefined;
  }

  /** Delivers events in wire order, in the turn in which their bytes arrive. */
  onEvent(listener: (event: RawEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Delivers the recent lines of the session, then each further one. */
  onMonitorTraffic(listener: (line: DialogueLine) => void): () => void {
    for (const line of this.#dialogue) apart(() => listener(line));
    this.#overhearing.add(listener);
    return () => this.#overhearing.delete(listener);
  }

  /** @throws QmpUnsentError when the command can no longer be sent, or not yet. */
  demandOpen(command: string): void {
    if (this.isOpen) return;
    throw this.#unsent(command);
  }

  #unsent(command: string): QmpUnsentError {
    const why = `${command} was not sent: ${this.#ended?.message ?? "QEMU does not answer yet"}`;
    return new QmpUnsentError(why, this.dialogue(), { cause: this.#ended });
  }

  /**
   * Sends a command and waits for its reply. @throws QmpCommandError (QEMU rejected it) and QmpUnsentError: it had no
   * effect. QmpTimeoutError, QmpDisconnectedError: it may have had its effect.
   */
  async execute(
    command: string,
    args: JsonObject,
    options: { limitMs: number; oob?: boolean },
  ): Promise<Json> {
    if (this.#ended !== undefined) throw this.#unsent(command);
    if (!this.#isOpen) await this.#openWithin(command, options.limitMs);
    if (options.oob === true && !this.#oob)
      throw new QmpProtocolError(`${command} requires out-of-band execution, which QEMU did not grant`);
    return this.#send(command, args, options);
  }

  /** @throws QmpUnsentError */
  async #openWithin(command: string, limitMs: number): Promise<void> {
    const settled = Promise.race([this.opened, this.closed]);
    const isInTime = await resolvesWithin(this.#options.clock, limitMs, settled);
    if (!isInTime || this.#ended !== undefined) throw this.#unsent(command);
  }

  /** Waits without a limit when `limitMs` is null. */
  #send(
    command: string,
    args: JsonObject,
    options: { limitMs: number | null; oob?: boolean },
  ): Promise<Json> {
    if (this.#ended !== undefined) return Promise.reject(this.#unsent(command));
    const id = `${this.#tag}${this.#nextId++}`;
    const verb = options.oob === true ? "exec-oob" : "execute";
    const hasArguments = Object.keys(args).length > 0;
    const text = JSON.stringify({ [verb]: command, ...(hasArguments && { arguments: args }), id });
    return new Promise((resolve, reject) => {
      const { clock } = this.#options;
      const { limitMs } = options;
      const timer =
        limitMs === null
          ? undefined
          : clock.setTimeout(() => {
              // Removes the entry, so that a late reply is recorded as such and has no effect.
              this.#pending.delete(id);
              reject(new QmpTimeoutError(command, limitMs, this.dialogue()));
            }, limitMs);
      this.#pending.set(id, {
        command,
        settle: (answer) => {
          clock.clearTimeout(timer);
          this.#pending.delete(id);
          if ("error" in answer) reject(answer.error);
          else resolve(answer.value);
        },
      });
      this.#remember("sent", text);
      this.#wire?.to.write(`${text}\n`);
    });
  }

  dialogue(): readonly DialogueLine[] {
    return [...this.#dialogue];
  }

  /** Closes this end; pending commands are rejected. */
  close(): void {
    this.#hangUp();
    this.#end("this client closed the monitor");
  }

  /** Ends the session: after a message that cannot be parsed, no later one can be trusted. */
  fail(error: unknown): void {
    const why = messageOf(error);
    this.#failGreeting(new QmpProtocolError(why, this.dialogue(), { cause: error }));
    this.#end(why, error);
    this.#hangUp();
  }

  #hangUp(): void {
    this.#wire?.from.destroy();
    this.#wire?.to.destroy();
  }

  #receive(bytes: Uint8Array): void {
    try {
      for (const line of this.#lines.push(bytes)) {
        if (this.#skipping && !line.includes(this.#tag)) continue;
        this.#skipping = false;
        this.#remember("received", line);
        this.#dispatch(decode(line));
      }
    } catch (error) {
      this.fail(error);
    }
  }

  #dispatch(message: Message): void {
    switch (message.kind) {
      case "greeting":
        this.#greet(message.oob);
        break;
      case "event":
        for (const listener of this.#listeners) apart(() => listener(message));
        break;
      case "return":
        this.#pendingOf(message)?.settle({ value: message.value });
        break;
      case "error": {
        const pending = this.#pendingOf(message);
        if (pending === undefined && message.id === undefined) {
          throw new QmpProtocolError(`QEMU could not read a command: ${message.description}`);
        }
        const { errorClass, description } = message;
        const command = pending?.command ?? "";
        pending?.settle({ error: new QmpCommandError(command, errorClass, description, this.dialogue()) });
      }
    }
  }

  /** Undefined for a late reply, whose command has timed out; the session's log keeps it. */
  #pendingOf({ id }: { id: Json | undefined }): Pending | undefined {
    return typeof id === "string" ? this.#pending.get(id) : undefined;
  }

  #remember(direction: DialogueLine["direction"], text: string): void {
    const line = { direction, atMs: this.#options.clock.now(), text: excerpt(text) };
    this.#dialogue.push(line);
    if (this.#dialogue.length > dialogueLength) this.#dialogue.shift();
    for (const listener of this.#overhearing) apart(() => listener(line));
  }

  #end(why: string, error?: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended = new QmpDisconnectedError(why, this.dialogue(), { cause: error });
    this.#failGreeting(this.#ended);
    for (const pending of [...this.#pending.values()]) pending.settle({ error: this.#ended });
    this.#close(this.#ended);
  }
}
