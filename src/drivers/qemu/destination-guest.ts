// The guest that comes in, on a real QEMU: started paused and listening, run only when the machine says so.

import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, DestinationFact, DestinationGuest } from "../../effects/ports.js";
import type { PrepareInput } from "../../machines/destination.js";
import { type Answer, type Cause, cause, done, failed, messageOf, nothing } from "../../protocol/answer.js";
import type { DestinationFound, GuestWas, Prepared } from "../../protocol/messages.js";
import type { Dropped, StreamWish } from "../../protocol/stream.js";
import { answering, endProcess } from "./answers.js";
import { Facts } from "./facts.js";
import { keepHandle } from "./handle-file.js";
import type { Monitor, MonitorEvent } from "./monitor/commands.js";
import { QmpCommandError, QmpUnsentError } from "./monitor/errors.js";
import { identityOf, type QemuHandle, QemuProcess, type QemuSpec } from "./process.js";
import { memoryBytes, StreamSettings } from "./settings.js";
import { keepSettings, settingsIn } from "./settings-file.js";
import { lastWords } from "./words.js";

const exitAfterFailedMs = 500;

const found: Readonly<Record<string, DestinationFound>> = {
  none: "listening",
  setup: "listening",
  completed: "received",
  failed: "failed",
};

export interface LaunchRequest {
  readonly spec: QemuSpec;
  /** To be given to QEMU after the hardware, as they are. */
  readonly sideArgs: readonly string[];
  /** Exists, and is removed when QEMU has ended; what QEMU writes to `stderr` in it is told when it fails. */
  readonly directory: string;
}

/** Starts QEMU in an embedder's own way, and says where its two monitors are. */
export type Launcher = (request: LaunchRequest) => Promise<Pick<QemuHandle, "pid" | "monitors">>;

export interface DestinationOptions {
  readonly spec: QemuSpec;
  readonly sideArgs: readonly string[];
  readonly clock: Clock;
  /** Default: a child process of ours. */
  readonly launch?: Launcher | undefined;
  /** Of this migration alone, so that its QEMU is found again by it; made for the QEMU and removed with it. */
  readonly directory: string;
  /** `unix` has no Nagle stall (41 ms of pause on plain tcp, facts/qemu.md); `tcp` listens on loopback, port chosen by QEMU. */
  readonly transport: Transport;
  /** The same as at the source. */
  readonly stream?: StreamWish | undefined;
  /** As at the source. */
  readonly onDropped?: ((dropped: readonly Dropped[]) => void) | undefined;
}

/** Where the stream comes in from another host: the first free port there. */
export interface ListenAt {
  /** The address that QEMU binds. */
  readonly bind: string;
  /** What the source is told. */
  readonly host: string;
  readonly ports: readonly number[];
}

export type Transport = "unix" | "tcp" | ListenAt;

export class QemuDestinationGuest implements DestinationGuest {
  readonly #options: DestinationOptions;
  readonly #stream: StreamSettings;
  readonly #facts = new Facts<DestinationFact>(
    (event) => this.#hear(event),
    (why) => ({ type: "process.exited", cause: this.#refused ?? why }),
  );
  #starting: Promise<QemuProcess> | undefined;
  /** Why it has to be ended, in its own words: its end says no more. */
  #refused: Cause | undefined;
  #staying: { "exit-on-error"?: false } = { "exit-on-error": false };
  /** When the guest began to run here, in microseconds since 1970, by QEMU's clock. */
  resumedAtMicros: number | undefined;

  /** `qemu` when it was started before a crash of ours, and has been found again. */
  constructor(options: DestinationOptions, qemu?: QemuProcess) {
    this.#options = options;
    this.#stream = new StreamSettings("destination", options.stream ?? {}, options);
    if (qemu === undefined) return;
    this.#starting = Promise.resolve(qemu);
    this.#facts.from(qemu);
  }

  /** The process, once Prepare has started it. */
  get process(): Promise<QemuProcess> | undefined {
    return this.#starting;
  }

  watch(listener: (fact: DestinationFact) => void): () => void {
    return this.#facts.watch(listener);
  }

  prepare({ guest }: PrepareInput, signal: AbortSignal): Promise<Answer<Prepared>> {
    return answering(async () => {
      const refused = await this.#stream.refusalOfHost();
      if (refused !== undefined) return failed(refused);
      this.#starting ??= this.#start(signal);
      let qemu: QemuProcess;
      try {
        qemu = await this.#starting;
      } catch (error) {
        return failed(messageOf(error));
      }
      this.#facts.from(qemu);
      const { main } = qemu;
      const { UUID } = await main.execute("query-uuid", {});
      if (UUID !== guest.uuid)
        return failed(`the destination's uuid is ${UUID}, the guest's is ${guest.uuid}`);
      const memory = await memoryBytes(main);
      if (memory !== guest.memoryBytes) {
        return failed(`the destination has ${memory} bytes of memory, the guest has ${guest.memoryBytes}`);
      }
      const { known, settings } = await this.#stream.read(main);
      await keepSettings(this.#options.directory, settings);
      const set = await this.#stream.set(main, guest.capabilities);
      if (set.kind !== "done") return set;
      return done({ uri: await this.#listen(qemu), capabilities: known });
    });
  }

  inquire(): Promise<Answer<DestinationFound>> {
    return answering(async () => {
      const { main } = await this.#started();
      if ((await main.execute("query-status", {})).running) return done("runs");
      const { status = "none" } = await main.execute("query-migrate", {});
      return done(found[status] ?? "receiving");
    });
  }

  resume(guestWas: GuestWas): Promise<Answer<null>> {
    if (guestWas === "paused") return Promise.resolve(nothing);
    return answering(async () => {
      const { main } = await this.#started();
      try {
        await main.execute("cont", {});
      } catch (error) {
        if (error instanceof QmpUnsentError) return failed(error.message);
        throw error;
      }
      return nothing;
    });
  }

  async kill(): Promise<Answer<null>> {
    const qemu = await this.#starting?.catch(() => undefined);
    return qemu === undefined ? nothing : endProcess(qemu);
  }

  /** After the guest has arrived: its QEMU gets its migration settings back, so that it can leave again. */
  async putSettingsBack(): Promise<void> {
    const settings = await settingsIn(this.#options.directory);
    if (settings !== undefined) await this.#stream.putBack((await this.#started()).main, settings);
  }

  async #start(signal: AbortSignal): Promise<QemuProcess> {
    const { spec, sideArgs: ownArgs, clock, directory, launch } = this.#options;
    const sideArgs = [...ownArgs, "-S", "-incoming", "defer"];
    if (launch === undefined) return QemuProcess.start(spec, { clock, signal, directory, sideArgs });
    await mkdir(directory, { mode: 0o700 });
    try {
      const { pid, monitors } = await launch({ spec, sideArgs, directory });
      const handle = { ...identityOf(pid), monitors, directory };
      await keepHandle(directory, handle);
      return await QemuProcess.attach(handle, { clock, signal });
    } catch (error) {
      await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  async #started(): Promise<QemuProcess> {
    if (this.#starting === undefined) throw new Error("there was no Prepare");
    return this.#starting;
  }

  async #listen({ main }: QemuProcess): Promise<string> {
    if (this.#options.transport === "unix") {
      const uri = `unix:${join(this.#options.directory, "migrate.sock")}`;
      await this.#comeIn(main, uri);
      return uri;
    }
    if (this.#options.transport !== "tcp") return this.#listenAt(main, this.#options.transport);
    await this.#comeIn(main, "tcp:127.0.0.1:0");
    // Never probe the port: any connection becomes the stream. QEMU tells which one it took.
    const [address] = (await main.execute("query-migrate", {}))["socket-address"] ?? [];
    return `tcp:${address?.host}:${address?.port}`;
  }

  /**
   * With QEMU staying when it cannot load the stream, so that its own word for it is heard. An older one does not know
   * the argument, and says so before it does anything: its schema would take 50 ms to be read.
   */
  async #comeIn(main: Monitor, uri: string): Promise<void> {
    try {
      await main.execute("migrate-incoming", { uri, ...this.#staying });
    } catch (error) {
      if (!(error instanceof QmpCommandError && error.description.includes("exit-on-error"))) throw error;
      this.#staying = {};
      await main.execute("migrate-incoming", { uri });
    }
  }

  async #listenAt(main: Monitor, { bind, host, ports }: ListenAt): Promise<string> {
    const bracketed = (it: string) => (it.includes(":") ? `[${it}]` : it);
    for (const [tried, port] of ports.entries()) {
      try {
        await this.#comeIn(main, `tcp:${bracketed(bind)}:${port}`);
        return `tcp:${bracketed(host)}:${port}`;
      } catch (error) {
        if (tried === ports.length - 1 || !(error instanceof QmpCommandError)) throw error;
      }
    }
    throw new Error("there is no port for the stream");
  }

  #hear(event: MonitorEvent): void {
    if (event.name === "RESUME") {
      this.resumedAtMicros ??= event.atMicros;
      this.#tell({ type: "monitor.resumed" });
    }
    if (event.name === "STOP") this.#tell({ type: "monitor.stopped" });
    if (event.name !== "MIGRATION") return;
    const { status } = event.data;
    if (status === "active") this.#tell({ type: "monitor.active" });
    if (status === "completed") this.#tell({ type: "monitor.completed" });
    if (status === "failed") void this.#tellFailed();
  }

  async #tellFailed(): Promise<void> {
    const { main } = await this.#started();
    const info = await main.execute("query-migrate", {}).catch(() => undefined);
    const words = info?.["error-desc"];
    if (words === undefined) {
      // Before 9.1 QEMU ends right after it has failed, with the reason on stderr alone: the exit tells more.
      const why = cause("QEMU refused the stream");
      this.#options.clock.setTimeout(
        () => this.#tell({ type: "monitor.failed", cause: why }),
        exitAfterFailedMs,
      );
      return;
    }
    this.#refused = cause("QEMU refused the stream", [...(await lastWords(this.#options.directory)), words]);
    this.#tell({ type: "monitor.failed", cause: this.#refused });
  }

  #tell(fact: DestinationFact): void {
    this.#facts.tell(fact);
  }
}
