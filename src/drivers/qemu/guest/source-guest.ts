// The source-side guest, on a real QEMU: the source's effects as monitor commands, and its facts from monitor events.
// It makes no decisions: the machine owns the order.

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
 * A downtime shorter than this is over before its beginning is reported: later facts imply the stop, and reporting it
 * would take processor time from the QEMUs during the downtime (a third of the downtime on two cores).
 */
const shortPauseMs = 20;
/** Time that an unresponsive monitor has before the rescue goes out of band. */
const rescueAnswerMs = 500;

/** Reasons for which a guest stops outside of the switchover. */
const suspensions: readonly string[] = ["paused", "io-error"];

/** Which disks are mirrored, and how. */
export interface StorageCopy extends CopyOptions {
  /** Disks by name; `all` means every disk that the guest can write to. */
  readonly disks: "all" | readonly string[];
}

export interface SourceOptions extends Pick<SideOptions, "pauseBeforeSwitchover"> {
  /** Whether a disk I/O error that stops the guest is reported, so that the migration is aborted. */
  readonly abortOnError: boolean;
  /** Null when the hosts share the guest's storage. */
  readonly storage: StorageCopy | null;
  readonly stream?: StreamOptions | undefined;
  /** Sent to the clients of the guest's graphics before the stream. */
  readonly graphics?: GraphicsOptions | undefined;
  /** Receives the options that were left out, before the stream starts. */
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
  /** The guest has powered off, or has rebooted and is configured to exit then. */
  #shutDown = false;
  /** QEMU has started this migration: until then `query-migrate` reports the previous one. */
  #begun = false;
  /** This engine suspended the guest: the stop is not reported, and the guest resumes on the side where it ends. */
  #suspended = false;
  /** The timer of a stop that has not been reported yet. */
  #untold: unknown;
  /** QEMU's own figures of the completed migration. */
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
    // Disk mirrors are completed at the gate before the switchover.
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

  /** Returns QEMU's total-time in milliseconds, if it could still be queried after completion. */
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
        return failed(`this QEMU is already migrating (${migration.status})`);
      }
      const refused = await this.#stream.refusal(main);
      if (refused !== undefined) return failed(refused);
      const blocked = migration["blocked-reasons"] ?? [];
      if (blocked.length > 0) return failed("QEMU reports that this guest cannot be migrated", blocked);
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
          return failed(`throttling the guest requires the migration capability "${throttleCapability}"`);
        await armThrottle(main);
      }
      const untold = await this.#graphics.tell(main);
      if (untold !== undefined) this.#options.onDropped?.([untold]);
      // The machine may have started a cancel meanwhile: then `migrate` must not follow.
      if (signal.aborted) return failed("the migration was cancelled before it was started");
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
      return Promise.resolve(failed("this migration was started without the postcopy option"));
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
        // When a monitor does not answer, its main loop hangs in a blocked write; yank breaks the connection under
        // it.
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
        if (!running) return unknown(`the guest is not running after cont (${status})`);
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

  /** Determines whether the guest stopped for the switchover, or was suspended by an operator during the transfer. */
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
      // Queried in a later turn: writing the command takes half a millisecond, and `cont` must be sent before it.
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

  /** Returns the status of this migration only. */
  async #status(earlier: string | null, limitMs?: number): Promise<string> {
    const limit = limitMs === undefined ? undefined : { limitMs };
    const info = await this.#qemu.main.execute("query-migrate", {}, limit);
    return this.#begun ? (info.status ?? "none") : ownStatus(info, earlier);
  }

  /** Polls until QEMU reports how the migration ended; the machine may learn it earlier from an event. */
  async #awaitEnd(earlier: string | null, signal: AbortSignal): Promise<Answer<Ended>> {
    while (!signal.aborted) {
      const ended = endedAs(await this.#status(earlier));
      if (ended !== undefined) return done(ended);
      await sleep(this.#clock, endCheckMs);
    }
    return unknown("QEMU has not reported how its migration ended");
  }
}

const shutDown = (why: Cause): Cause => ({ ...why, message: `the guest shut itself down: ${why.message}` });
