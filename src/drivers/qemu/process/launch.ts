// Starts a QEMU in a process group of its own, with two monitors in a directory of its own and its stderr in a file, so
// that it neither dies with us nor loses its voice.

import { execFile, spawn } from "node:child_process";
import { chown, mkdir, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { identify } from "../../platform/procfs.js";
import { pipesOf } from "../monitor/connect.js";
import { sandboxArgs } from "./confinement.js";
import { asShell, GuestLog } from "./guest-log.js";
import type { Hosting, QemuHandle, QemuSpec, StartOptions } from "./spec.js";
import { wordsIn } from "./stderr-tail.js";

export interface Launched {
  readonly handle: QemuHandle;
  /** Resolves to how it ended, when it is reaped. */
  readonly ended: Promise<string>;
  /** This process may end before it. */
  letGo(): void;
  readonly log: GuestLog | undefined;
}

/** Of a unix socket's path, in bytes (unix(7)). */
const maxPathLength = 107;

/** The monitors of a QEMU of ours. */
export const monitorsIn = (directory: string): QemuHandle["monitors"] => ({
  main: join(directory, "main.sock"),
  rescue: join(directory, "rescue"),
});

/** QEMU does not make its pipes itself. */
async function makePipes(path: string, user: Hosting["user"]): Promise<void> {
  const pipes = Object.values(pipesOf(path));
  await promisify(execFile)("mkfifo", ["-m", "600", ...pipes]);
  if (user !== undefined) for (const pipe of pipes) await chown(pipe, user.uid, user.gid);
}

/** @throws Error when the binary cannot be run, or its directory cannot be made. */
export async function launch(
  spec: QemuSpec,
  { sideArgs = [], directory: wanted, hosting = {}, clock }: StartOptions,
): Promise<Launched> {
  const directory = wanted ?? (await mkdtemp(join(tmpdir(), "switchover-")));
  if (wanted !== undefined) await mkdir(wanted, { mode: 0o700 });
  const monitors = monitorsIn(directory);
  const { logDirectory, user } = hosting;
  const log = logDirectory === undefined ? undefined : new GuestLog(logDirectory, spec.name);
  try {
    // QEMU makes its sockets in it; others than its user and this process cannot reach them.
    if (user !== undefined) await chown(directory, user.uid, user.gid);
    if (Buffer.byteLength(monitors.main) > maxPathLength) {
      throw new Error(
        `${monitors.main} is too long for a unix socket (${maxPathLength} bytes); set TMPDIR to a shorter directory`,
      );
    }
    await makePipes(monitors.rescue, user);
    return await spawnIn(directory, monitors, spec, { sideArgs, hosting, log, nowMs: clock.now() });
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

interface SpawnOptions {
  readonly sideArgs: readonly string[];
  readonly hosting: Hosting;
  readonly log: GuestLog | undefined;
  readonly nowMs: number;
}

async function spawnIn(
  directory: string,
  monitors: QemuHandle["monitors"],
  { name, uuid, binary = "qemu-system-x86_64", args, env }: QemuSpec,
  { sideArgs, hosting, log, nowMs }: SpawnOptions,
): Promise<Launched> {
  const monitorArgs = [
    ...[
      "-chardev",
      `socket,id=main,path=${monitors.main},server=on,wait=off`,
      "-mon",
      "chardev=main,mode=control",
    ],
    // Out-of-band execution that was negotiated here outlives this process (monitor/connect.ts).
    ...["-chardev", `pipe,id=rescue,path=${monitors.rescue}`, "-mon", "chardev=rescue,mode=control"],
  ];
  // QEMU would end the name at a comma.
  const names = ["-name", `guest=${name.replaceAll(",", ",,")}`, "-uuid", uuid];
  const sandbox = sandboxArgs([...args, ...sideArgs], hosting);
  const all = [...names, ...sandbox, ...args, ...sideArgs, ...monitorArgs];
  const { user } = hosting;
  const as = user === undefined ? "" : ` as ${user.uid}:${user.gid}`;
  await log?.write(nowMs, `starting${as}: ${asShell([...assignments(env), binary, ...all])}`);
  await using stderr = await open(wordsIn(directory), "w", 0o600);
  // Its own process group: a terminal's Ctrl-C is for us, who then decide what becomes of the guest.
  const child = spawn(binary, all, {
    stdio: ["ignore", stderr.fd, stderr.fd],
    ...(user !== undefined && { uid: user.uid, gid: user.gid }),
    detached: true,
    env: { ...process.env, ...env },
  });
  const { pid } = child;
  if (pid === undefined) {
    const error = await new Promise<Error>((resolve) => child.once("error", resolve));
    const why = `${binary} cannot be run: ${error.message}; install QEMU, or name its binary`;
    await log?.write(nowMs, why);
    throw new Error(why);
  }
  const ended = new Promise<string>((resolve) => {
    child.once("close", (code, signal) => {
      const how = signal === null ? `ended with status ${code}` : `was killed by ${signal}`;
      resolve(`QEMU (pid ${pid}) ${how}`);
    });
  });
  // A child that has ended already is still there to be looked at: it is reaped in a later turn.
  const startTicks = identify(pid)?.startTicks ?? 0;
  return { handle: { pid, startTicks, monitors, directory }, ended, letGo: () => child.unref(), log };
}

const assignments = (env: QemuSpec["env"] = {}): string[] =>
  Object.entries(env).map(([name, value]) => `${name}=${value}`);
