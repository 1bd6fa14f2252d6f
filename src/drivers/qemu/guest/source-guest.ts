// The guest that leaves, on a real QEMU: the source's effects as monitor commands, and its facts from monitor events.
// It decides nothing: the order is the machine's.

import type { Clock, MonitorLine, SourceFact, SourceGuest } from "../../../effects/ports.js";
import { sleep } from "../../../effects/sleep.js";
import { within } from "../../../effects/within.js";
import type {
  CancelInput,
  Described,
  MirrorInput,
  ProbeInput,
  RestoreInput,
  StartInput,
} from "../../../machines/source/machine.js";
import type { Limits } from "../../../protocol/convergence/limits.js";
import {
  type Answer,
  type Cause,
  cause,
  done,
  failed,
  nothing,
  unknown,
} from "../../../protocol/effect-result.js";
import type { Ended, Resumption, SourceFound } from "../../../protocol/messages.js";
import type { StreamAddress } from "../../../protocol/peer-text.js";
import type { Dropped, StreamOptions } from "../../../protocol/stream.js";
import { memoryBytes, StreamSettings, setLimits } from "../migration/migration-settings.js";
import {
  brokenInPostcopy,
  endedAs,
  hasEnded,
  markOf,
  ownStatus,
  stillUnderWay,
} from "../migration/migration-status.js";
import type { SideOptions } from "../migration/option-table.js";
import { ProgressWatch } from "../migration/progress-watch.js";
import { SourcePostcopy } from "../migration/source-postcopy.js";
import { armThrottle, setThrottle, throttleCapability } from "../migration/throttle.js";
import type { CommandReturn, MonitorEvent } from "../monitor/commands.js";
import { QmpCommandError } from "../monitor/errors.js";
import { answering } from "../monitor/to-result.js";
import { endProcess } from "../process/end-process.js";
import type { QemuProcess } from "../process/process.js";
import { disksToCopy } from "../storage/block-devices.js";
import { type CopyOptions, Mirrors } from "../storage/mirrors.js";
import { Facts } from "./event-source.js";
import { Graphics, type GraphicsOptions } from "./graphics.js";

const endCheckMs = 20;
/** QEMU's words when another process holds the lock of a disk (QEMU's block/file-posix.c). */
const lockHeld = /^Failed to get .*lock/;
const lockAgainMs = 50;
/**
 * A pause shorter than this is over before its beginning is told: what follows it says that the guest had stopped, and
 * telling it would take processor time away from the QEMUs just then (a third of the pause on two cores).
 */
const shortPauseMs = 20;
/** How long a hung monitor is given before the rescue goes out of band. */
const rescueAnswerMs = 500;

/** Why a guest has stopped, when it was not for the switchover. */
const suspensions: readonly string[] = ["paused", "io-error"];

/** Which disks are copied, and how. */
export interface StorageCopy extends CopyOptions {
  /** By name; `all` is each that the guest can write to. */
  readonly disks: "all" | readonly string[];
}

export interface SourceOptions extends Pick<SideOptions, "pauseBeforeSwitchover"> {
  /** Whether a disk's I/O error that stops the guest is told, so that the migration is aborted. */
  readonly abortOnError: boolean;
  /** Null when the hosts share the guest's storage. */
  readonly storage: StorageCopy | null;
  readonly stream?: StreamOptions | undefined;
  /** Told to the clients of the guest's graphics before the stream. */
  readonly graphics?: GraphicsOptions | undefined;
  /** Told what was left out of the wishes, before the stream starts. */
  readonly onDropped?: (dropped: readonly Dropped[]) => void;
}

export class QemuSourceGuest implements SourceGuest {
  readonly #qemu: QemuProcess;
  readonly #clock: Clock;
  readonly #options: SourceOptions;
  readonly #mirrors: Mirrors;
  readonly #progress: ProgressWatch;
  readonly #postcopy: SourcePostcopy;
  readonly #stream: StreamSettings;
  readonly #graphics: Graphics;
  readonly #facts = new Facts<SourceFact>(
    (event) => this.#hear(event),
    (why) => {
      this.#progress.stop();
      return { type: "process.exited", cause: this.#shutDown ? shutDown(why) : why };
    },
  );
  #underWay = false;
  /** The guest itself has powered off, or has rebooted and is to end with that. */
  #shutDown = false;
  /** QEMU has begun this migration: until then it answers `query-migrate` with the one before. */
  #begun = false;
  /** The guest's pause is ours: nobody has to be told of it, and it runs on wherever it ends. */
  #suspended = false;
  /** The timer of a stop that has not been told yet. */
  #untold: unknown;
  /** QEMU's own figures of the finished migration. */
  #figures: Promise<CommandReturn<"query-migrate">> | undefined;
  /** When the guest stopped for the switchover, in microseconds since 1970, by QEMU's clock. */
  stoppedAtMicros: number | undefined;

  constructor(qemu: QemuProcess, { clock, ...options }: { clock: Clock } & SourceOptions) {
    this.#qemu = qemu;
    this.#clock = clock;
    this.#options = options;
    const copy = options.storage ?? { sync: "full", synchronousWrites: false };
    const { pauseBeforeSwitchover = false, storage, stream, onDropped } = options;
    this.#mirrors = new Mirrors(qemu, {
      ...copy,
      clock,
      tls: stream?.tls,
      tell: (fact) => this.#tell(fact),
    });
    this.#progress = new ProgressWatch(qemu, this.#mirrors, {
      clock,
      isSending: () => this.#begun,
      tell: (progress) => this.#tell({ type: "monitor.progressed", progress }),
    });
    this.#postcopy = new SourcePostcopy(qemu, {
      clock,
      tell: () => {
        this.#takeUntold();
        this.#tell({ type: "monitor.postcopy" });
        this.#progress.begin();
      },
    });
    // With disks to copy their copies are ended at the gate.
    const wish = { ...stream, pauseBeforeSwitchover: pauseBeforeSwitchover || storage !== null };
    this.#stream = new StreamSettings("source", wish, { clock, onDropped });
    this.#graphics = new Graphics(options.graphics, clock);
    this.#facts.from(qemu);
  }

  watch(listener: (fact: SourceFact) => void): () => void {
    return this.#facts.watch(listener);
  }

  onMonitorTraffic(listener: (line: MonitorLine) => void): () => void {
    return this.#facts.onMonitorTraffic(listener);
  }

  /** QEMU's total-time in milliseconds, when it could still be asked after completed. */
  async qemuTotalMs(): Promise<number | undefined> {
    return (await this.#figures?.catch(() => undefined))?.["total-time"];
  }

  describe(): Promise<Answer<Described>> {
    return answering(async () => {
      const { main } = this.#qemu;
      const [{ status, running }, { UUID }, { qemu }, memory, { known, settings }, migration] =
        await Promise.all([
          main.execute("query-status", {}),
          main.execute("query-uuid", {}),
          main.execute("query-version", {}),
          memoryBytes(main),
          this.#stream.read(main),
          main.execute("query-migrate", {}),
        ]);
      if (!running && status !== "paused" && status !== "prelaunch") {
        return failed(`a guest in state "${status}" cannot be migrated`);
      }
      if (migration.status !== undefined && !hasEnded(migration.status)) {
        return failed(`this QEMU is migrating already (${migration.status})`);
      }
      const refused = await this.#stream.refusal(main);
      if (refused !== undefined) return failed(refused);
      const blocked = migration["blocked-reasons"] ?? [];
      if (blocked.length > 0) return failed("QEMU says that this guest cannot be migrated", blocked);
      const disks = await disksToCopy(main, this.#options.storage);
      if (typeof disks === "string") return failed(disks);
      return done({
        guest: {
          uuid: UUID,
          guestWas: running ? "running" : "paused",
          qemuVersion: `${qemu.major}.${qemu.minor}.${qemu.micro}`,
          memoryBytes: memory,
          capabilities: known,
          disks,
          fencingToken: null,
        },
        settings,
        earlier: markOf(migration),
      });
    });
  }

  probe({ disks, earlier }: ProbeInput): Promise<Answer<SourceFound>> {
    return answering(async () => {
      const { main } = this.#qemu;
      this.#underWay = true;
      this.#mirrors.expect(disks);
      const status = await this.#status(earlier);
      this.#begun = status !== "none";
      const found = endedAs(status) ?? stillUnderWay[status];
      if (found !== undefined) return done(found);
      if (status === "postcopy-active") return done(await this.#foundInPostcopy());
      if ((await main.execute("query-status", {})).status === "finish-migrate") return done("stopped");
      this.#progress.begin();
      return done("sending");
    });
  }

  mirror(input: MirrorInput): Promise<Answer<null>> {
    return answering(() => {
      this.#underWay = true;
      this.#progress.begin();
      return this.#mirrors.begin(input);
    });
  }

  completeMirrors(signal: AbortSignal): Promise<Answer<null>> {
    return answering(() => this.#mirrors.end(signal));
  }

  cancelMirrors(signal: AbortSignal): Promise<Answer<null>> {
    return answering(() => this.#mirrors.drop(signal));
  }

  start({ guest, prepared, limits, mayThrottle }: StartInput, signal: AbortSignal): Promise<Answer<null>> {
    return answering(async () => {
      const { main } = this.#qemu;
      const set = await this.#stream.set(main, prepared, limits);
      if (set.kind !== "done") return set;
      if (mayThrottle) {
        if (!guest.capabilities.includes(throttleCapability))
          return failed(
            `to throttle the guest its QEMU needs the migration capability "${throttleCapability}"`,
          );
        await armThrottle(main);
      }
      const untold = await this.#graphics.tell(main);
      if (untold !== undefined) this.#options.onDropped?.([untold]);
      // The machine may have gone on to cancel meanwhile: then `migrate` must not follow.
      if (signal.aborted) return failed("the migration was given up before it was started");
      this.#underWay = true;
      await main.execute("migrate", { uri: prepared.uri });
      this.#begun = true;
      this.#progress.begin();
      return nothing;
    });
  }

  setLimits(limits: Limits): Promise<Answer<null>> {
    return answering(async () => {
      await setLimits(this.#qemu.main, limits);
      await this.#mirrors.setLimits(limits);
      return nothing;
    });
  }

  startPostcopy(): Promise<Answer<null>> {
    if (this.#options.stream?.postcopy === undefined)
      return Promise.resolve(failed("this migration was begun without leave to go over to post-copy"));
    return this.#postcopy.start();
  }

  pausePostcopy(): Promise<Answer<null>> {
    return this.#postcopy.break();
  }

  resumePostcopy({ uri }: { readonly uri: StreamAddress }, signal: AbortSignal): Promise<Answer<Resumption>> {
    return this.#postcopy.resume(uri, signal);
  }

  throttle(percent: number): Promise<Answer<null>> {
    return answering(async () => {
      await setThrottle(this.#qemu.main, percent);
      return nothing;
    });
  }

  suspend(): Promise<Answer<null>> {
    return answering(async () => {
      this.#suspended = true;
      await this.#qemu.main.execute("stop", {});
      return nothing;
    });
  }

  continue(): Promise<Answer<null>> {
    return answering(async () => {
      await this.#qemu.main.execute("migrate-continue", { state: "pre-switchover" });
      return nothing;
    });
  }

  cancel({ earlier }: CancelInput, signal: AbortSignal): Promise<Answer<Ended>> {
    return answering(async () => {
      const status = await this.#status(earlier);
      if (brokenInPostcopy.includes(status)) return done("broken");
      await this.#qemu.main.execute("migrate_cancel", {});
      return this.#awaitEnd(earlier, signal);
    });
  }

  forceCancel({ earlier }: CancelInput, signal: AbortSignal): Promise<Answer<Ended>> {
    return answering(async () => {
      const { main, rescue } = this.#qemu;
      try {
        const status = await this.#status(earlier, rescueAnswerMs);
        if (status === "cancelling") await main.execute("migrate-continue", { state: "cancelling" });
        else if (endedAs(status) === undefined) await main.execute("migrate_cancel", {});
      } catch {
        // A monitor that does not answer has its main loop in a blocked write; yank breaks the connection under it.
        await rescue.execute("yank", { instances: [{ type: "migration" }] }, { oob: true });
      }
      return within(this.#clock, 2 * rescueAnswerMs, signal, (limited) => this.#awaitEnd(earlier, limited));
    });
  }

  restore({ guestWas, settings, awaitsDisks }: RestoreInput, signal: AbortSignal): Promise<Answer<null>> {
    return answering(async () => {
      const { main } = this.#qemu;
      const { status: migration = "none" } = await main.execute("query-migrate", {});
      if (!hasEnded(migration)) return unknown(`QEMU is still ending its migration (${migration})`);
      if (guestWas === "running" && !(await main.execute("query-status", {})).running) {
        await this.#resume(awaitsDisks, signal);
        const { status, running } = await main.execute("query-status", {});
        if (!running) return unknown(`the guest does not run after cont (${status})`);
      }
      this.#underWay = false;
      return settings === null ? nothing : this.#stream.putBack(main, settings);
    });
  }

  /** A destination that is being ended may still hold the locks of the guest's disks. */
  async #resume(awaitsDisks: boolean, signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await this.#qemu.main.execute("cont", {});
        return;
      } catch (error) {
        const isLocked = error instanceof QmpCommandError && lockHeld.test(error.description);
        if (!isLocked || !awaitsDisks || signal.aborted) throw error;
        await sleep(this.#clock, lockAgainMs);
      }
    }
  }

  async kill(): Promise<Answer<null>> {
    await Promise.race([this.#graphics.awaitClients(), this.#qemu.exited]);
    return endProcess(this.#qemu);
  }

  #hear(event: MonitorEvent): void {
    if (event.name === "SHUTDOWN") this.#shutDown ||= event.data.guest;
    if (!this.#underWay) return;
    this.#mirrors.hear(event);
    this.#graphics.hear(event);
    switch (event.name) {
      case "STOP":
        this.stoppedAtMicros = event.atMicros;
        this.#progress.stop();
        this.#untold = this.#clock.setTimeout(() => void this.#tellStop(), shortPauseMs);
        break;
      case "RESUME":
        this.#suspended = false;
        if (this.#takeUntold()) this.#tell({ type: "monitor.stopped" });
        this.#tell({ type: "monitor.resumed" });
        break;
      case "BLOCK_IO_ERROR":
        if (this.#options.abortOnError && event.data.action === "stop")
          this.#tell({ type: "monitor.diskFailed" });
        break;
      case "MIGRATION":
        this.#hearStatus(event.data.status);
    }
  }

  /** Whose stop it was: the switchover's, or somebody's who paused the guest while its memory is being sent. */
  async #tellStop(): Promise<void> {
    const { status } = await this.#qemu.main.execute("query-status", {}).catch(() => ({ status: "unknown" }));
    if (!this.#takeUntold()) return;
    if (!suspensions.includes(status)) this.#tell({ type: "monitor.stopped" });
    else {
      if (!this.#suspended) this.#tell({ type: "monitor.suspended" });
      this.#progress.begin();
    }
  }

  #takeUntold(): boolean {
    const untold = this.#untold !== undefined;
    this.#clock.clearTimeout(this.#untold);
    this.#untold = undefined;
    return untold;
  }

  #hearStatus(status: string): void {
    if (status === "pre-switchover" || hasEnded(status)) this.#takeUntold();
    if (status === "pre-switchover") this.#tell({ type: "monitor.preSwitchover" });
    if (status === "cancelled") this.#tell({ type: "monitor.cancelled" });
    if (status === "postcopy-active") void this.#postcopy.prove();
    if (status === "postcopy-paused") this.#tell({ type: "monitor.postcopyPaused" });
    if (status === "completed") {
      this.#tell({ type: "monitor.completed" });
      // In a later turn: writing the question takes half a millisecond, and `cont` must leave before it.
      this.#figures = new Promise((resolve, reject) => {
        setImmediate(() => this.#qemu.main.execute("query-migrate", {}).then(resolve, reject));
      });
      this.#figures.catch(() => {});
    }
    if (status === "failed") void this.#tellFailed();
    if (hasEnded(status)) this.#progress.stop();
  }

  async #foundInPostcopy(): Promise<SourceFound> {
    if (!(await this.#postcopy.isProven())) return "stopped";
    this.#progress.begin();
    return "postcopy";
  }

  async #tellFailed(): Promise<void> {
    const info: CommandReturn<"query-migrate"> = await this.#qemu.main
      .execute("query-migrate", {})
      .catch(() => ({}));
    const words = info["error-desc"];
    this.#tell({ type: "monitor.failed", cause: cause("QEMU's migration failed", words ? [words] : []) });
  }

  #tell(fact: SourceFact): void {
    this.#facts.tell(fact);
  }

  /** Returns the status of this migration alone. */
  async #status(earlier: string | null, limitMs?: number): Promise<string> {
    const limit = limitMs === undefined ? undefined : { limitMs };
    const info = await this.#qemu.main.execute("query-migrate", {}, limit);
    return this.#begun ? (info.status ?? "none") : ownStatus(info, earlier);
  }

  /** Asks until QEMU says how the migration ended; the machine may hear it from an event before. */
  async #awaitEnd(earlier: string | null, signal: AbortSignal): Promise<Answer<Ended>> {
    while (!signal.aborted) {
      const ended = endedAs(await this.#status(earlier));
      if (ended !== undefined) return done(ended);
      await sleep(this.#clock, endCheckMs);
    }
    return unknown("QEMU has not said how its migration ended");
  }
}

const shutDown = (why: Cause): Cause => ({ ...why, message: `the guest shut itself down: ${why.message}` });
