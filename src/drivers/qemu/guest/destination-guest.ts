// The destination-side guest, on a real QEMU: started paused and listening, resumed only on the machine's command.

import { mkdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Clock, DestinationFact, DestinationGuest, MonitorLine } from "../../../effects/ports.js";
import { sleep } from "../../../effects/sleep.js";
import { resolvesWithin } from "../../../effects/within.js";
import type { PrepareInput } from "../../../machines/destination/machine.js";
import {
  type Answer,
  type Cause,
  cause,
  done,
  failed,
  messageOf,
  nothing,
} from "../../../protocol/effect-result.js";
import type { CopiedDisk, DestinationFound, GuestDescription, Prepared } from "../../../protocol/messages.js";
import {
  anywhere,
  hostName,
  type SocketPath,
  type StreamAddress,
  socketPath,
  tcpAddress,
  unixAddress,
} from "../../../protocol/peer-text.js";
import type { Dropped, StreamOptions } from "../../../protocol/stream.js";
import { atFirstFree, type ListenAt } from "../migration/listen-address.js";
import { memoryBytes, StreamSettings } from "../migration/migration-settings.js";
import { tlsId } from "../migration/option-table.js";
import { keepSettings, settingsIn } from "../migration/settings-file.js";
import type { Monitor, MonitorEvent } from "../monitor/commands.js";
import { QmpCommandError, QmpUnsentError } from "../monitor/errors.js";
import { answering } from "../monitor/to-result.js";
import { giveTo } from "../process/confinement.js";
import { endProcess } from "../process/end-process.js";
import { keepHandle } from "../process/handle-file.js";
import { identityOf, QemuProcess } from "../process/process.js";
import type { Hosting, QemuHandle, QemuSpec } from "../process/spec.js";
import { stderrTail } from "../process/stderr-tail.js";
import { dropImages, type Image, keepImages, makeImages } from "../storage/images.js";
import { offerDisks, stopOffering } from "../storage/nbd-exports.js";
import { announceSelf } from "./announce-self.js";
import { Facts } from "./event-source.js";
import { syncTime } from "./guest-agent.js";

const exitAfterFailedMs = 500;
const devicesCheckMs = 1;
const agentLimitMs = 5_000;
const noticeMs = 300;
const recoverMs = 3_000;
const recoverCheckMs = 20;
/** Limit for the report of an exit after a kill. */
const exitReportMs = 500;
/** Matches QEMU's error message (migration/migration.c: qmp_migrate_recover). */
const isNotPaused = (error: unknown): boolean =>
  error instanceof QmpCommandError && /\bpaused\b/.test(error.description);
const announceAfterMs = 10;

const found: Readonly<Record<string, DestinationFound>> = {
  none: "listening",
  setup: "listening",
  completed: "received",
  failed: "failed",
};

export interface LaunchRequest {
  readonly spec: QemuSpec;
  /** To be passed to QEMU unchanged, after the hardware arguments. */
  readonly sideArgs: readonly string[];
  /** Exists, and is removed when QEMU has exited; its file `stderr`, to which QEMU writes, is quoted in errors. */
  readonly directory: string;
}

/** Starts QEMU in an embedder's own way, and returns the addresses of its two monitors. */
export type Launcher = (request: LaunchRequest) => Promise<Pick<QemuHandle, "pid" | "monitors">>;

export interface DestinationOptions {
  readonly spec: QemuSpec;
  readonly sideArgs: readonly string[];
  readonly clock: Clock;
  /** Default: a child process of this one. */
  readonly launch?: Launcher | undefined;
  readonly hosting?: Hosting | undefined;
  /** Files besides `images` that QEMU's user needs to write, when QEMU runs as a separate user. */
  readonly writes?: Parameters<typeof giveTo>[1];
  /**
   * Belongs to this migration alone, so that its QEMU can be found again by it; created for the QEMU and removed with
   * it.
   */
  readonly directory: string;
  /** Images of mirrored disks; created where they are missing. */
  readonly images: readonly Image[];
  /** Where the disk mirrors are received: the path of a unix socket, or ports. Default: like the memory. */
  readonly disksAt?: SocketPath | ListenAt | undefined;
  /**
   * `unix` avoids Nagle's algorithm, which added 41 ms of downtime on plain tcp; `tcp` listens on loopback, at a port
   * that QEMU chooses.
   */
  readonly transport: Transport;
  /** The same options as at the source. */
  readonly stream?: StreamOptions | undefined;
  /** Sets the guest's clock after its arrival. */
  readonly syncTime?: SyncTime | undefined;
  /** Receives the dropped options, as at the source. */
  readonly onDropped?: ((dropped: readonly Dropped[]) => void) | undefined;
}

export interface SyncTime {
  /** The unix socket of the guest agent's port at the destination; no other client may be connected to it. */
  readonly agent: string;
}

export type Transport = "unix" | "tcp" | ListenAt;

export class QemuDestinationGuest implements DestinationGuest {
  readonly #options: DestinationOptions;
  readonly #stream: StreamSettings;
  readonly #facts = new Facts<DestinationFact>(
    (event) => this.#hear(event),
    (why) => {
      dropImages(this.#options.images, this.#tag);
      return { type: "process.exited", cause: this.#refused ?? why };
    },
  );
  #starting: Promise<QemuProcess> | undefined;
  /** Where QEMU listens again in post-copy, until the source has connected. */
  #relistens: StreamAddress | undefined;
  /** Why QEMU must be ended, in its own words: its exit does not show the reason. */
  #refused: Cause | undefined;
  #staying: { "exit-on-error"?: false } = { "exit-on-error": false };
  /** When the guest was resumed here, in microseconds since 1970, by QEMU's clock. */
  resumedAtMicros: number | undefined;

  /** `qemu` is given when it was started before a crash of this process and has been found again. */
  constructor(options: DestinationOptions, qemu?: QemuProcess) {
    this.#options = options;
    this.#stream = new StreamSettings("destination", options.stream ?? {}, options);
    if (qemu === undefined) return;
    this.#starting = Promise.resolve(qemu);
    this.#facts.from(qemu);
    if (!qemu.main.session.isOpen) void this.#catchUp(qemu);
  }

  /** The process, once Prepare has started it. */
  get process(): Promise<QemuProcess> | undefined {
    return this.#starting;
  }

  watch(listener: (fact: DestinationFact) => void): () => void {
    return this.#facts.watch(listener);
  }

  onMonitorTraffic(listener: (line: MonitorLine) => void): () => void {
    return this.#facts.onMonitorTraffic(listener);
  }

  prepare({ guest }: PrepareInput, signal: AbortSignal): Promise<Answer<Prepared>> {
    return answering(async () => {
      const refused = await this.#stream.refusalOfHost();
      if (refused !== undefined) return failed(refused);
      this.#starting ??= this.#start(guest.disks, signal);
      let qemu: QemuProcess;
      try {
        qemu = await this.#starting;
      } catch (error) {
        dropImages(this.#options.images, this.#tag);
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
      const set = await this.#stream.set(main, guest);
      if (set.kind !== "done") return set;
      if (guest.disks.length === 0) return done({ uri: await this.#listen(qemu), capabilities: known });
      const storage = await offerDisks(main, guest.disks, this.#storageAddress, this.#tls);
      if (typeof storage !== "string") return failed(storage.refused);
      return done({ uri: await this.#listen(qemu), capabilities: known, storage });
    });
  }

  probe(): Promise<Answer<DestinationFound>> {
    return answering(async () => {
      const { main } = await this.#started();
      const { running, status: guest } = await main.execute("query-status", {});
      const { status = "none" } = await main.execute("query-migrate", {});
      const inPostcopy = status.startsWith("postcopy-");
      if (running && !inPostcopy) return done("runs");
      if (running) return done(status === "postcopy-paused" ? "runsBroken" : "runsPartly");
      if (inPostcopy && guest !== "inmigrate") return done("partly");
      if (inPostcopy) void this.#awaitDevices();
      return done(found[status] ?? "receiving");
    });
  }

  listenAgain(): Promise<Answer<{ readonly uri: StreamAddress }>> {
    return answering(async () => {
      const { rescue } = await this.#started();
      const { transport } = this.#options;
      const endMs = this.#options.clock.now() + recoverMs;
      const listen = (uri: StreamAddress) => this.#recover(rescue, uri, endMs);
      // One connection at a time: QEMU listens until it is established.
      if (this.#relistens !== undefined) return done({ uri: this.#relistens });
      let uri: StreamAddress;
      if (typeof transport === "string") {
        uri = unixAddress(this.#socket("again.sock"));
        await listen(uri);
      } else {
        const port = await atFirstFree(transport, (value) => listen(tcpAddress(transport.bind, value)));
        uri = tcpAddress(transport.host, port);
      }
      this.#relistens = uri;
      return done({ uri });
    });
  }

  /**
   * QEMU listens again once it has noticed that its connection is lost. It cannot notice a silent loss, such as a cut
   * cable: then `migrate-pause` makes it drop the connection, after it has had time to notice the loss by itself.
   */
  async #recover(rescue: Monitor, uri: StreamAddress, endMs: number): Promise<void> {
    const { clock } = this.#options;
    const patientMs = clock.now() + noticeMs;
    let isGivenUp = false;
    for (;;) {
      try {
        await rescue.execute("migrate-recover", { uri }, { oob: true });
        return;
      } catch (error) {
        if (!isNotPaused(error) || clock.now() >= endMs) throw error;
      }
      if (!isGivenUp && clock.now() >= patientMs) {
        isGivenUp = true;
        await rescue.execute("migrate-pause", {}, { oob: true }).catch((error: unknown) => {
          if (!(error instanceof QmpCommandError)) throw error;
        });
      }
      await sleep(clock, recoverCheckMs);
    }
  }

  resume({ guestWas, disks }: GuestDescription): Promise<Answer<null>> {
    return answering(async () => {
      const { main } = await this.#started();
      const { images } = this.#options;
      try {
        // With a closed monitor nothing is sent, and the images do not become the guest's.
        main.session.demandOpen("cont");
        // Both commands are sent at once: QEMU executes them in order, and the downtime does not include the first
        // reply.
        const stopped = disks.length > 0 ? stopOffering(main) : undefined;
        // From here on the images hold data that the guest has written.
        keepImages(images, this.#tag);
        const ran = guestWas === "running" ? main.execute("cont", {}) : undefined;
        await Promise.all([stopped, ran]);
      } catch (error) {
        if (error instanceof QmpUnsentError) return failed(error.message);
        throw error;
      }
      return nothing;
    });
  }

  async kill(): Promise<Answer<null>> {
    const qemu = await this.#starting?.catch(() => undefined);
    if (qemu === undefined) return nothing;
    const answer = await endProcess(qemu);
    // The cause of an earlier death is reported before this answer.
    if (answer.kind === "done")
      await resolvesWithin(this.#options.clock, exitReportMs, this.#facts.exitReported);
    return answer;
  }

  /**
   * Called after the guest has arrived: restores QEMU's migration settings, so that the guest can be migrated again,
   * and sets its clock. Best effort.
   */
  async finalize(): Promise<void> {
    const { main } = await this.#started();
    const settings = await settingsIn(this.#options.directory);
    if (settings !== undefined) await this.#stream.putBack(main, settings).catch(() => {});
    await this.#syncTime(main).catch((error: unknown) =>
      this.#options.onDropped?.([{ option: "syncTime", why: messageOf(error) }]),
    );
  }

  async #syncTime(main: Monitor): Promise<void> {
    const { syncTime: wish, clock } = this.#options;
    if (wish === undefined) return;
    if (!(await main.execute("query-status", {})).running) throw new Error("the guest is paused");
    await syncTime(wish.agent, { clock, limitMs: agentLimitMs });
    // Otherwise the guest would also receive the ticks that it missed. Not every QEMU has an RTC with that command.
    await main.execute("rtc-reset-reinjection", {}).catch(() => {});
  }

  /**
   * The disk mirrors use the memory stream's credentials, which are created before the NBD server and removed after
   * it.
   */
  get #tls(): string | undefined {
    return this.#options.stream?.tls === undefined ? undefined : tlsId;
  }

  /** Identifies this migration. */
  get #tag(): string {
    return basename(this.#options.directory);
  }

  async #start(disks: readonly CopiedDisk[], signal: AbortSignal): Promise<QemuProcess> {
    const { spec, sideArgs: ownArgs, clock, directory, launch } = this.#options;
    const sideArgs = [...ownArgs, "-S", "-incoming", "defer"];
    await makeImages(this.#options.images, disks, this.#tag);
    if (launch === undefined) {
      const { hosting, writes = { existing: [], made: [] } } = this.#options;
      if (hosting?.user !== undefined) await giveTo(hosting.user, writes);
      return QemuProcess.start(spec, { clock, signal, hosting, directory, sideArgs });
    }
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
    if (this.#starting === undefined) throw new Error("Prepare has not started a QEMU");
    return this.#starting;
  }

  /** QEMU does not report the port that it chose for NBD; within one machine no port is needed. */
  get #storageAddress(): SocketPath | ListenAt {
    const { transport, disksAt } = this.#options;
    return disksAt ?? (typeof transport === "string" ? this.#socket("storage.sock") : transport);
  }

  /** Returns a socket path in the directory of this migration. */
  #socket(name: string): SocketPath {
    return socketPath(join(this.#options.directory, name), anywhere);
  }

  async #listen({ main }: QemuProcess): Promise<StreamAddress> {
    if (this.#options.transport === "unix") {
      const uri = unixAddress(this.#socket("migrate.sock"));
      await this.#comeIn(main, uri);
      return uri;
    }
    if (this.#options.transport !== "tcp") {
      const { transport } = this.#options;
      const port = await atFirstFree(transport, (value) =>
        this.#comeIn(main, tcpAddress(transport.bind, value)),
      );
      return tcpAddress(transport.host, port);
    }
    const loopback = hostName("127.0.0.1");
    await this.#comeIn(main, tcpAddress(loopback, 0));
    // Never probe the port: any connection becomes the stream. QEMU reports the port that it chose.
    const [address] = (await main.execute("query-migrate", {}))["socket-address"] ?? [];
    return tcpAddress(loopback, Number(address?.port));
  }

  /**
   * Makes QEMU stay alive when it cannot load the stream, so that its own error can be read. An older QEMU rejects
   * the unknown argument before it does anything; reading its schema instead would take 50 ms.
   */
  async #comeIn(main: Monitor, uri: StreamAddress): Promise<void> {
    try {
      await main.execute("migrate-incoming", { uri, ...this.#staying });
    } catch (error) {
      if (!(error instanceof QmpCommandError && error.description.includes("exit-on-error"))) throw error;
      this.#staying = {};
      await main.execute("migrate-incoming", { uri });
    }
  }

  /** The progress of the stream is reported as soon as the main monitor answers: earlier events were not received. */
  async #catchUp({ main }: QemuProcess): Promise<void> {
    await main.session.opened;
    const { status } = await main.execute("query-migrate", {}).catch(() => ({ status: undefined }));
    if (status !== undefined) this.#hearStatus(status);
  }

  #hear(event: MonitorEvent): void {
    if (event.name === "RESUME") {
      if (this.resumedAtMicros === undefined) this.#announceLater();
      this.resumedAtMicros ??= event.atMicros;
      this.#tell({ type: "monitor.resumed" });
    }
    if (event.name === "STOP") this.#tell({ type: "monitor.stopped" });
    if (event.name === "MIGRATION") this.#hearStatus(event.data.status);
  }

  #hearStatus(status: string): void {
    if (status === "active") this.#tell({ type: "monitor.active" });
    if (status === "postcopy-active") {
      this.#relistens = undefined;
      void this.#awaitDevices();
    }
    if (status === "postcopy-paused") {
      this.#relistens = undefined;
      this.#tell({ type: "monitor.postcopyPaused" });
    }
    if (status === "completed") this.#tell({ type: "monitor.completed" });
    if (status === "failed") void this.#tellFailed();
  }

  /** Waits for everything that the guest's resume depends on; in post-copy this is long before its arrival. */
  #announceLater(): void {
    this.#options.clock.setTimeout(
      () =>
        void this.#started().then(
          ({ main }) => announceSelf(main),
          () => {},
        ),
      announceAfterMs,
    );
  }

  async #tellFailed(): Promise<void> {
    const { main } = await this.#started();
    const info = await main.execute("query-migrate", {}).catch(() => undefined);
    const words = info?.["error-desc"];
    if (words === undefined) {
      // Before 9.1 QEMU exits right after a failure, with the reason only on stderr: its exit reports more.
      const why = cause("QEMU rejected the stream");
      this.#options.clock.setTimeout(
        () => this.#tell({ type: "monitor.failed", cause: why }),
        exitAfterFailedMs,
      );
      return;
    }
    this.#refused = cause("QEMU rejected the stream", [
      ...(await stderrTail(this.#options.directory)),
      words,
    ]);
    this.#tell({ type: "monitor.failed", cause: this.#refused });
  }

  /** In post-copy QEMU emits no event when its devices are loaded; then its guest is `paused`, and can be resumed. */
  async #awaitDevices(): Promise<void> {
    const { main } = await this.#started();
    try {
      while ((await main.execute("query-status", {})).status === "inmigrate")
        await sleep(this.#options.clock, devicesCheckMs);
      this.#tell({ type: "monitor.postcopy" });
    } catch {
      // The exit is reported separately.
    }
  }

  #tell(fact: DestinationFact): void {
    this.#facts.tell(fact);
  }
}
