// One QEMU process: started with two monitors in a directory of its own, its last words kept, always reaped, and its
// directory removed when it has ended (G6). It knows nothing of migration.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../effects/ports.js";
import { type Cause, cause } from "../../protocol/answer.js";
import { Monitor } from "./monitor/commands.js";
import { connectMonitor } from "./monitor/connect.js";
import type { DialogueLine } from "./monitor/errors.js";

/** What QEMU is to be. `args` is its hardware, and must be the same on both sides. */
export interface QemuSpec {
  readonly name: string;
  readonly uuid: string;
  /** Default: `qemu-system-x86_64`, from PATH. */
  readonly binary?: string;
  readonly args: readonly string[];
}

export interface StartOptions {
  readonly clock: Clock;
  /** Given to QEMU after the hardware: e.g. `-S -incoming defer` and this side's serial port. */
  readonly sideArgs?: readonly string[];
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
  /** Told each line of the dialogue with the main monitor. */
  readonly tap?: ((line: DialogueLine) => void) | undefined;
}

const keptStderrLines = 12;

export class QemuProcess {
  readonly pid: number;
  /** Holds the monitors' sockets, and what else this side needs; goes with the process. */
  readonly directory: string;
  /** Resolves when the process is reaped and its directory removed; never rejects. */
  readonly exited: Promise<Cause>;
  readonly #child: ChildProcess;
  #monitors: { main: Monitor; rescue: Monitor } | undefined;

  private constructor(child: ChildProcess, pid: number, directory: string, exited: Promise<Cause>) {
    this.#child = child;
    this.pid = pid;
    this.directory = directory;
    this.exited = exited;
  }

  /** @throws Error when the binary cannot be run, or QEMU ends or stays mute before its monitors are open. */
  static async start(spec: QemuSpec, options: StartOptions): Promise<QemuProcess> {
    const directory = await mkdtemp(join(tmpdir(), "switchover-"));
    const binary = spec.binary ?? "qemu-system-x86_64";
    const monitorArgs = ["main", "rescue"].flatMap((it) => [
      ...["-chardev", `socket,id=${it},path=${join(directory, `${it}.sock`)},server=on,wait=off`],
      ...["-mon", `chardev=${it},mode=control`],
    ]);
    const identity = ["-name", `guest=${spec.name}`, "-uuid", spec.uuid];
    const args = [...identity, ...spec.args, ...(options.sideArgs ?? []), ...monitorArgs];
    // Its own process group: a terminal's Ctrl-C is for us, who then decide what becomes of the guest.
    const child = spawn(binary, args, { stdio: ["ignore", "ignore", "pipe"], detached: true });
    const exited = reap(child, binary, directory);
    if (child.pid === undefined) {
      const why = await exited;
      throw new Error(`${why.message}; install QEMU, or name its binary`);
    }
    const qemu = new QemuProcess(child, child.pid, directory, exited);
    try {
      await qemu.#openMonitors(options);
      return qemu;
    } catch (error) {
      qemu.signal("SIGKILL");
      const why = await exited;
      const words = why.qemu === undefined ? "" : `: ${why.qemu.join(" | ")}`;
      throw new Error(`QEMU did not come up${words}`, { cause: error });
    }
  }

  get main(): Monitor {
    return this.#opened().main;
  }

  /** Kept open from the start, with out-of-band execution, for when the main monitor hangs (facts/qemu.md). */
  get rescue(): Monitor {
    return this.#opened().rescue;
  }

  /** Signals our own child; without effect when it has ended. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async #openMonitors({ clock, signal, tap, deadlineMs = 10_000 }: StartOptions): Promise<void> {
    const ended = new AbortController();
    void this.exited.then(() => ended.abort());
    const stop = signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal]);
    const open = (name: string, rest: { oob: boolean; tap?: StartOptions["tap"] }) =>
      connectMonitor(join(this.directory, `${name}.sock`), { clock, deadlineMs, signal: stop, ...rest });
    // Out-of-band execution puts a monitor behind a thread of its own in QEMU, and each event and command of the
    // switchover would wait for that thread: the main monitor goes without.
    const [main, rescue] = await Promise.all([
      open("main", { oob: false, tap }),
      open("rescue", { oob: true }),
    ]);
    this.#monitors = { main: new Monitor(main), rescue: new Monitor(rescue) };
  }

  #opened() {
    if (this.#monitors === undefined) throw new Error("the monitors are not open yet");
    return this.#monitors;
  }
}

/** Waits for the end of the process, keeps its last words, removes its directory. */
function reap(child: ChildProcess, binary: string, directory: string): Promise<Cause> {
  let words: string[] = [];
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    const lines = `${words.pop() ?? ""}${text}`.split("\n");
    words = [...words, ...lines].slice(-keptStderrLines - 1);
  });
  return new Promise<Cause>((resolve) => {
    child.once("error", (error) => resolve(cause(`${binary} cannot be run: ${error.message}`)));
    child.once("close", (code, signal) => {
      const how = signal === null ? `ended with status ${code}` : `was killed by ${signal}`;
      const said = words.map((it) => it.trim()).filter((it) => it !== "");
      resolve(cause(`QEMU (pid ${child.pid}) ${how}`, said));
    });
  }).then(async (why) => {
    await rm(directory, { recursive: true, force: true });
    return why;
  });
}
