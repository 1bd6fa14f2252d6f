// The guest that comes in, on a real QEMU: started paused and listening, run only when the machine says so.

import { mkdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Clock, DestinationFact, DestinationGuest, MonitorLine } from "../../../effects/ports.js";
import { sleep } from "../../../effects/sleep.js";
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
/** QEMU's word (migration/migration.c: qmp_migrate_recover). */
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
  readonly hosting?: Hosting | undefined;
  /** Beside `images`: given to QEMU's user, when it has one of its own. */
  readonly writes?: Parameters<typeof giveTo>[1];
  /** Of this migration alone, so that its QEMU is found again by it; made for the QEMU and removed with it. */
  readonly directory: string;
  /** Of disks that are copied; made where they are missing. */
  readonly images: readonly Image[];
  /** Where their copies are taken: the path of a unix socket, or ports. Default: as the memory is. */
  readonly disksAt?: SocketPath | ListenAt | undefined;
  /** `unix` has no Nagle stall (41 ms of pause on plain tcp, facts/qemu.md); `tcp` listens on loopback, port chosen by QEMU. */
  readonly transport: Transport;
  /** The same as at the source. */
  readonly stream?: StreamOptions | undefined;
  /** Sets the guest's clock once it has arrived. */
  readonly syncTime?: SyncTime | undefined;
  /** As at the source. */
  readonly onDropped?: ((dropped: readonly Dropped[]) => void) | undefined;
}

export interface SyncTime {
  /** The unix socket of the guest agent's port at the destination; nobody else may be connected to it. */
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
  /** Where QEMU listens again in post-copy, until somebody has connected. */
  #relistens: StreamAddress | undefined;
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
      // One connection at a time: QEMU listens until it has come.
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
   * QEMU listens anew once it has noticed that its connection is lost. One that was lost without a word, such as by a cut
   * cable, it takes for good, and is told to give it up; not before it had time to notice by itself.
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
        // With a monitor that is gone already nothing is sent, and the images are not the guest's.
        main.session.demandOpen("cont");
        // In one go: QEMU does the one after the other, and the guest's pause does not wait for the first answer.
        const stopped = disks.length > 0 ? stopOffering(main) : undefined;
        // From here on they hold what the guest has written.
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
    return qemu === undefined ? nothing : endProcess(qemu);
  }

  /**
   * After the guest has arrived: its QEMU gets its migration settings back, so that it can leave again, and its clock is
   * set. Best effort.
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
    // Or the guest would also be given the ticks that it has missed. Not each QEMU has an RTC that does so.
    await main.execute("rtc-reset-reinjection", {}).catch(() => {});
  }

  /** The memory stream's credentials serve the disks' too: they are there before, and are removed after the disks' server. */
  get #tls(): string | undefined {
    return this.#options.stream?.tls === undefined ? undefined : tlsId;
  }

  /** Names this migration. */
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
    if (this.#starting === undefined) throw new Error("there was no Prepare");
    return this.#starting;
  }

  /** QEMU does not tell which port it took for NBD, when it may choose: within one machine it needs none. */
  get #storageAddress(): SocketPath | ListenAt {
    const { transport, disksAt } = this.#options;
    return disksAt ?? (typeof transport === "string" ? this.#socket("storage.sock") : transport);
  }

  /** In the directory of this migration. */
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
    // Never probe the port: any connection becomes the stream. QEMU tells which one it took.
    const [address] = (await main.execute("query-migrate", {}))["socket-address"] ?? [];
    return tcpAddress(loopback, Number(address?.port));
  }

  /**
   * With QEMU staying when it cannot load the stream, so that its own word for it is heard. An older one does not know
   * the argument, and says so before it does anything: its schema would take 50 ms to be read.
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

  /** How far the stream is is told as soon as the main monitor answers: what QEMU said of that before was not received. */
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

  /** After what waits for the guest's run; in post-copy long before its arrival. */
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
      // Before 9.1 QEMU ends right after it has failed, with the reason on stderr alone: the exit tells more.
      const why = cause("QEMU refused the stream");
      this.#options.clock.setTimeout(
        () => this.#tell({ type: "monitor.failed", cause: why }),
        exitAfterFailedMs,
      );
      return;
    }
    this.#refused = cause("QEMU refused the stream", [...(await stderrTail(this.#options.directory)), words]);
    this.#tell({ type: "monitor.failed", cause: this.#refused });
  }

  /** In post-copy QEMU tells nobody when its devices are loaded; then its guest is `paused`, and can be run. */
  async #awaitDevices(): Promise<void> {
    const { main } = await this.#started();
    try {
      while ((await main.execute("query-status", {})).status === "inmigrate")
        await sleep(this.#options.clock, devicesCheckMs);
      this.#tell({ type: "monitor.postcopy" });
    } catch {
      // Its death is told.
    }
  }

  #tell(fact: DestinationFact): void {
    this.#facts.tell(fact);
  }
}
