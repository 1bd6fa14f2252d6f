// The guest that comes in, on a real QEMU: started paused and listening, run only when the machine says so.

import { mkdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Clock, DestinationFact, DestinationGuest } from "../../effects/ports.js";
import type { PrepareInput } from "../../machines/destination.js";
import { type Answer, cause, done, failed, messageOf, nothing } from "../../protocol/answer.js";
import type {
  CopiedDisk,
  DestinationFound,
  GuestDescription,
  Prepared,
  Settings,
} from "../../protocol/messages.js";
import { answering, endProcess } from "./answers.js";
import { Facts } from "./facts.js";
import { keepHandle } from "./handle-file.js";
import { dropImages, type Image, keepImages, makeImages } from "./images.js";
import { atFirstFree, bracketed, type ListenAt } from "./listen-at.js";
import type { MonitorEvent } from "./monitor/commands.js";
import { QmpUnsentError } from "./monitor/errors.js";
import { offerDisks, stopOffering } from "./offered-disks.js";
import { identityOf, type QemuHandle, QemuProcess, type QemuSpec } from "./process.js";
import { chooseCapabilities, memoryBytes, putBack, readSettings, setCapabilities } from "./settings.js";

const exitAfterFailedMs = 500;
const devicesCheckMs = 1;

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
  /** Of disks that are copied; made where they are missing. */
  readonly images: readonly Image[];
  /** Where their copies are taken: the path of a unix socket, or ports. Default: as the memory is. */
  readonly disksAt?: string | ListenAt | undefined;
  /** Whether the migration may go over to post-copy. */
  readonly postcopy: boolean;
  /** `unix` has no Nagle stall (41 ms of pause on plain tcp, facts/qemu.md); `tcp` listens on loopback, port chosen by QEMU. */
  readonly transport: Transport;
}

export type Transport = "unix" | "tcp" | ListenAt;

export class QemuDestinationGuest implements DestinationGuest {
  readonly #options: DestinationOptions;
  readonly #facts = new Facts<DestinationFact>(
    (event) => this.#hear(event),
    (why) => {
      dropImages(this.#options.images, this.#tag);
      return { type: "process.exited", cause: why };
    },
  );
  #starting: Promise<QemuProcess> | undefined;
  #settings: Settings | undefined;
  /** Where QEMU listens again in post-copy, until somebody has connected. */
  #relistens: string | undefined;
  /** When the guest began to run here, in microseconds since 1970, by QEMU's clock. */
  resumedAtMicros: number | undefined;

  /** `qemu` when it was started before a crash of ours, and has been found again. */
  constructor(options: DestinationOptions, qemu?: QemuProcess) {
    this.#options = options;
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
      const { known, settings } = await readSettings(main);
      this.#settings = settings;
      const chosen = chooseCapabilities(known, guest.capabilities, {
        pauseBeforeSwitchover: false,
        postcopy: this.#options.postcopy,
      });
      if ("missing" in chosen) return failed(`both QEMUs need the migration capability "${chosen.missing}"`);
      await setCapabilities(main, chosen);
      if (guest.disks.length === 0) return done({ uri: await this.#listen(qemu), capabilities: known });
      const storage = await offerDisks(main, guest.disks, this.#storageAddress);
      if (typeof storage !== "string") return failed(storage.refused);
      return done({ uri: await this.#listen(qemu), capabilities: known, storage });
    });
  }

  inquire(): Promise<Answer<DestinationFound>> {
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

  relisten(): Promise<Answer<{ readonly uri: string }>> {
    return answering(async () => {
      const { rescue } = await this.#started();
      const { transport, directory } = this.#options;
      const listen = (uri: string) => rescue.execute("migrate-recover", { uri }, { oob: true });
      // One connection at a time: QEMU listens until it has come.
      if (this.#relistens !== undefined) return done({ uri: this.#relistens });
      if (typeof transport === "string") {
        this.#relistens = `unix:${join(directory, "again.sock")}`;
        await listen(this.#relistens);
      } else {
        const port = await atFirstFree(transport, (it) => listen(`tcp:${bracketed(transport.bind)}:${it}`));
        this.#relistens = `tcp:${bracketed(transport.host)}:${port}`;
      }
      return done({ uri: this.#relistens });
    });
  }

  resume({ guestWas, disks }: GuestDescription): Promise<Answer<null>> {
    return answering(async () => {
      const { main } = await this.#started();
      const { images } = this.#options;
      try {
        if (disks.length > 0) await stopOffering(main);
        // From here on they hold what the guest has written.
        keepImages(images, this.#tag);
        if (guestWas === "running") await main.execute("cont", {});
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
    if (this.#settings !== undefined) await putBack((await this.#started()).main, this.#settings);
  }

  /** Names this migration. */
  get #tag(): string {
    return basename(this.#options.directory);
  }

  async #start(disks: readonly CopiedDisk[], signal: AbortSignal): Promise<QemuProcess> {
    const { spec, sideArgs: ownArgs, clock, directory, launch } = this.#options;
    const sideArgs = [...ownArgs, "-S", "-incoming", "defer"];
    await makeImages(this.#options.images, disks, this.#tag);
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

  /** QEMU does not tell which port it took for NBD, when it may choose: within one machine it needs none. */
  get #storageAddress(): string | ListenAt {
    const { transport, directory, disksAt } = this.#options;
    return disksAt ?? (typeof transport === "string" ? join(directory, "storage.sock") : transport);
  }

  async #listen({ main }: QemuProcess): Promise<string> {
    if (this.#options.transport === "unix") {
      const uri = `unix:${join(this.#options.directory, "migrate.sock")}`;
      await main.execute("migrate-incoming", { uri });
      return uri;
    }
    if (this.#options.transport !== "tcp") {
      const { transport } = this.#options;
      const port = await atFirstFree(transport, (it) =>
        main.execute("migrate-incoming", { uri: `tcp:${bracketed(transport.bind)}:${it}` }),
      );
      return `tcp:${bracketed(transport.host)}:${port}`;
    }
    await main.execute("migrate-incoming", { uri: "tcp:127.0.0.1:0" });
    // Never probe the port: any connection becomes the stream. QEMU tells which one it took.
    const [address] = (await main.execute("query-migrate", {}))["socket-address"] ?? [];
    return `tcp:${address?.host}:${address?.port}`;
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
    if (status === "postcopy-active") {
      this.#relistens = undefined;
      void this.#awaitDevices();
    }
    if (status === "postcopy-paused") {
      this.#relistens = undefined;
      this.#tell({ type: "monitor.postcopyPaused" });
    }
    if (status === "completed") this.#tell({ type: "monitor.completed" });
    if (status === "failed") {
      // Before 9.1 QEMU ends right after this, with the reason on stderr alone: the exit tells more.
      this.#options.clock.setTimeout(
        () => this.#tell({ type: "monitor.failed", cause: cause("QEMU refused the stream") }),
        exitAfterFailedMs,
      );
    }
  }

  /** In post-copy QEMU tells nobody when its devices are loaded; then its guest is `paused`, and can be run. */
  async #awaitDevices(): Promise<void> {
    const { main } = await this.#started();
    try {
      while ((await main.execute("query-status", {})).status === "inmigrate")
        await new Promise<void>((resolve) => this.#options.clock.setTimeout(resolve, devicesCheckMs));
      this.#tell({ type: "monitor.postcopy" });
    } catch {
      // Its death is told.
    }
  }

  #tell(fact: DestinationFact): void {
    this.#facts.tell(fact);
  }
}
