// One QEMU process with its two monitors, whether it was started here, found again after a crash of this process, or
// supplied by an embedder. The tail of its stderr is kept, and its directory is removed with it (G6). It knows
// nothing of migration.

import { rm } from "node:fs/promises";
import type { Clock, MonitorLine } from "../../../effects/ports.js";
import { sleep } from "../../../effects/sleep.js";
import { resolvesWithin } from "../../../effects/within.js";
import { type Cause, cause, messageOf } from "../../../protocol/effect-result.js";
import { identify, isAlive, type ProcessIdentity } from "../../platform/procfs.js";
import { Monitor } from "../monitor/commands.js";
import { connectLater, connectMonitor, connectRescue } from "../monitor/connect.js";
import { QmpSession } from "../monitor/session.js";
import { launch } from "./launch.js";
import type { AttachOptions, FindOptions, QemuHandle, QemuSpec, StartOptions } from "./spec.js";
import { loggedTail, stderrTail } from "./stderr-tail.js";

const goneCheckMs = 20;
const attachLimitMs = 2_000;

export class QemuProcess {
  readonly handle: QemuHandle;
  readonly clock: Clock;
  readonly main: Monitor;
  /** Kept open from the start, with out-of-band execution, for when the main monitor hangs. */
  readonly rescue: Monitor;
  /** Resolves when the process is reaped and its directory removed; never rejects. */
  readonly exited: Promise<Cause>;
  readonly #letGo: () => void;

  private constructor(
    handle: QemuHandle,
    monitors: Monitors,
    clock: Clock,
    exited: Promise<Cause>,
    letGo: () => void,
  ) {
    this.handle = handle;
    this.clock = clock;
    this.main = monitors.main;
    this.rescue = monitors.rescue;
    this.exited = exited;
    this.#letGo = letGo;
    // A pipe stays open after QEMU has exited.
    void exited.then((why) => this.rescue.session.fail(new Error(why.message)));
  }

  /**
   * @throws Error when the binary cannot be run, or when QEMU exits or stays unresponsive before its monitors are
   * open.
   */
  static async start(spec: QemuSpec, options: StartOptions): Promise<QemuProcess> {
    const { handle, ended, letGo, log } = await launch(spec, options);
    const exited = ended.then((how) => remains(handle, how, { ...options, log }));
    try {
      return new QemuProcess(
        handle,
        await openMonitors(handle, exited, options),
        options.clock,
        exited,
        letGo,
      );
    } catch (error) {
      signalProcess(handle, "SIGKILL");
      const why = await exited;
      const words = why.qemu?.join(" | ") ?? messageOf(error);
      throw new Error(`QEMU failed to start: ${words}`, { cause: error });
    }
  }

  /**
   * Attaches to a QEMU that is not, or no longer, a child of this process. If its main monitor does not respond
   * because a peer that does not read blocks its migration, that migration is broken off, unless QEMU may be waiting
   * for pages. @throws QemuGoneError when the process is gone; Error when its monitors cannot be reached.
   */
  static async attach(handle: QemuHandle, options: FindOptions): Promise<QemuProcess> {
    const { exited, letGo } = watched(handle, options);
    if (!isAlive(handle)) throw new QemuGoneError(await exited);
    const once = { ...options, deadlineMs: attachLimitMs };
    const attaching = openMonitors(handle, exited, once).catch(async (error: unknown) => {
      if (!isAlive(handle)) throw error;
      if (options.mayWaitForPages === true) return openLater(handle, exited, once);
      await yank(handle, once).catch(() => {});
      return openMonitors(handle, exited, options);
    });
    try {
      return new QemuProcess(handle, await attaching, options.clock, exited, letGo);
    } catch (error) {
      // A dying QEMU resets its connections first.
      const isGone = await resolvesWithin(options.clock, attachLimitMs, exited);
      // A process that cannot be reached is no longer watched; the next attempt watches it again.
      letGo();
      throw isGone ? new QemuGoneError(await exited) : error;
    }
  }

  /** Represents a QEMU that lives and does not answer: it can be signalled, and each command to it fails. */
  static mute(handle: QemuHandle, { clock, log }: Pick<AttachOptions, "clock" | "log">): QemuProcess {
    const { exited, letGo } = watched(handle, { clock, log });
    const monitor = () => new Monitor(QmpSession.mute({ clock, deadlineMs: 0, oob: false }));
    return new QemuProcess(handle, { main: monitor(), rescue: monitor() }, clock, exited, letGo);
  }

  /** Subscribes to the traffic of both monitors; returns an unsubscribe function. */
  onMonitorTraffic(listener: (line: MonitorLine) => void): () => void {
    const stops = (["main", "rescue"] as const).map((monitor) =>
      this[monitor].session.onMonitorTraffic((line) => listener({ monitor, ...line })),
    );
    return () => {
      for (const stop of stops) stop();
    };
  }

  get pid(): number {
    return this.handle.pid;
  }

  /**
   * Closes its monitors and no longer keeps this process alive: the guest runs on, and another process can attach to
   * it.
   */
  release(): void {
    this.main.session.close();
    this.rescue.session.close();
    this.#letGo();
  }

  /** Has no effect when the process has ended. */
  signal(signal: NodeJS.Signals): void {
    signalProcess(this.handle, signal);
  }
}

/** The process lives and its monitors do not answer: the state of its guest is unknown. */
export class QemuMuteError extends Error {
  override readonly name = "QemuMuteError";
  constructor(
    readonly handle: QemuHandle,
    options: ErrorOptions,
  ) {
    super(`QEMU (pid ${handle.pid}) does not answer`, options);
  }
}

/** The process no longer exists; `cause` has the tail of its stderr. */
export class QemuGoneError extends Error {
  override readonly name = "QemuGoneError";
  constructor(readonly why: Cause) {
    super(why.message);
  }
}

/** Breaks the connection of QEMU's migration out of band, by its second monitor. */
async function yank(
  { monitors }: QemuHandle,
  { clock, deadlineMs = attachLimitMs }: AttachOptions,
): Promise<void> {
  const session = await connectRescue(monitors.rescue, { clock, deadlineMs });
  try {
    await new Monitor(session).execute("yank", { instances: [{ type: "migration" }] }, { oob: true });
  } finally {
    session.close();
  }
}

/** Watches a process that is not a child of this one. */
function watched(handle: QemuHandle, options: Pick<AttachOptions, "clock" | "log">) {
  const watch = { on: true };
  const exited = goneness(handle, options.clock, watch).then((how) => remains(handle, how, options));
  const letGo = () => {
    watch.on = false;
  };
  return { exited, letGo };
}

interface Monitors {
  readonly main: Monitor;
  readonly rescue: Monitor;
}

async function openMonitors(
  { monitors }: QemuHandle,
  exited: Promise<Cause>,
  { clock, signal, deadlineMs = 10_000 }: AttachOptions,
): Promise<Monitors> {
  const limits = { clock, deadlineMs, signal: orEnded(exited, signal) };
  // Out-of-band execution would put the main monitor behind a separate thread in QEMU, and each event and command of
  // the switchover would wait for that thread, so the main monitor does without.
  const [main, rescue] = await Promise.allSettled([
    connectMonitor(monitors.main, { ...limits, oob: false }),
    connectRescue(monitors.rescue, limits),
  ]);
  if (main.status === "fulfilled" && rescue.status === "fulfilled") {
    return { main: new Monitor(main.value), rescue: new Monitor(rescue.value) };
  }
  // A monitor serves one client: a connection that was made is closed.
  for (const result of [main, rescue]) if (result.status === "fulfilled") result.value.close();
  throw main.status === "rejected" ? main.reason : rescue.status === "rejected" ? rescue.reason : undefined;
}

/** The main monitor opens when QEMU answers. */
async function openLater(
  { monitors }: QemuHandle,
  exited: Promise<Cause>,
  { clock, signal, deadlineMs = 10_000 }: AttachOptions,
): Promise<Monitors> {
  const limits = { clock, deadlineMs, signal: orEnded(exited, signal) };
  const rescue = new Monitor(await connectRescue(monitors.rescue, limits));
  const main = connectLater(monitors.main, { clock });
  // A session that has not opened has no earlier events to deliver, and nothing else ends the search for its QEMU.
  void exited.then((why) => {
    if (!main.isOpen) main.fail(new Error(why.message));
  });
  return { main: new Monitor(main), rescue };
}

function orEnded(exited: Promise<Cause>, signal: AbortSignal | undefined): AbortSignal {
  const ended = new AbortController();
  void exited.then(() => ended.abort());
  return signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal]);
}

function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): void {
  if (!isAlive(identity)) return;
  try {
    process.kill(identity.pid, signal);
  } catch (error) {
    // The process has ended since.
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}

/** Resolves when a process that is not a child of this one is gone; never once it is no longer watched. */
async function goneness(identity: ProcessIdentity, clock: Clock, watch: { on: boolean }): Promise<string> {
  while (isAlive(identity)) {
    await sleep(clock, goneCheckMs);
    if (!watch.on) await new Promise(() => {});
  }
  return `QEMU (pid ${identity.pid}) has ended`;
}

/** Collects the remains of the process: the tail of its stderr is kept, and its directory removed. */
async function remains(
  { directory }: QemuHandle,
  how: string,
  { clock, log }: Pick<AttachOptions, "clock" | "log">,
): Promise<Cause> {
  const words = directory === null ? [] : await stderrTail(directory);
  const logged = directory === null ? [] : await stderrTail(directory, loggedTail);
  await log?.write(clock.now(), ...logged.map((line) => `stderr: ${line}`), how);
  if (directory === null) return cause(how);
  await rm(directory, { recursive: true, force: true });
  return cause(how, words);
}

/** Returns the identity of a running process. @throws Error when there is none. */
export function identityOf(pid: number): ProcessIdentity {
  const identity = identify(pid);
  if (identity === undefined) throw new Error(`no process has the id ${pid}`);
  return identity;
}
