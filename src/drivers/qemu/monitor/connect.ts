// Connects to a monitor and opens a session on it: over a unix socket that QEMU may be about to create, or over two
// named pipes.

import { constants, existsSync, openSync } from "node:fs";
import { connect, Socket } from "node:net";
import type { Clock } from "../../../effects/ports.js";
import { sleep } from "../../../effects/sleep.js";
import { messageOf } from "../../../protocol/effect-result.js";
import { QmpConnectError, QmpError } from "./errors.js";
import { QmpSession, type SessionOptions } from "./session.js";

const retryMs = 2;
const laterRetryMs = 100;

/** @throws QmpConnectError with the path and the last cause: no connection or greeting in time, or aborted. */
export async function connectMonitor(path: string, options: SessionOptions): Promise<QmpSession> {
  const { clock, deadlineMs, signal } = options;
  const endMs = clock.now() + deadlineMs;
  for (;;) {
    try {
      signal?.throwIfAborted();
      const socket = await dial(path);
      const stopNudging = nudge(path, clock);
      try {
        return await QmpSession.open(socket, { ...options, deadlineMs: Math.max(1, endMs - clock.now()) });
      } finally {
        stopNudging();
      }
    } catch (error) {
      const notYet = error instanceof Error && "code" in error && isNotYet(error.code);
      if (signal?.aborted || !notYet || clock.now() >= endMs) {
        throw unreachable(path, error, { deadlineMs, notYet, aborted: signal?.aborted === true });
      }
      await sleep(clock, retryMs);
    }
  }
}

/** The two named pipes of a monitor (QEMU's `-chardev pipe`). */
export const pipesOf = (path: string) => ({ in: `${path}.in`, out: `${path}.out` }) as const;

/** Connects to the second monitor, for when the main one hangs. @throws QmpConnectError */
export const connectRescue = (path: string, options: Omit<SessionOptions, "oob">): Promise<QmpSession> =>
  existsSync(pipesOf(path).in)
    ? connectPipes(path, { ...options, oob: true })
    : connectMonitor(path, { ...options, oob: true });

/**
 * QEMU keeps both pipes open, so negotiated capabilities stay in effect for later clients. A new negotiation needs
 * QEMU's main loop, which may be the one that hangs.
 */
async function connectPipes(path: string, options: SessionOptions): Promise<QmpSession> {
  try {
    // Opened for both directions, so that the pipes can be opened before QEMU opens them.
    const flags = constants.O_RDWR | constants.O_NONBLOCK;
    const pipes = pipesOf(path);
    const from = new Socket({ fd: openSync(pipes.out, flags), readable: true, writable: false });
    const to = new Socket({ fd: openSync(pipes.in, flags), readable: false, writable: true });
    return await QmpSession.resume({ from, to }, options);
  } catch (error) {
    const { deadlineMs, signal } = options;
    throw unreachable(path, error, { deadlineMs, notYet: false, aborted: signal?.aborted === true });
  }
}

/** Connects to a monitor as soon as its QEMU answers, which may be never. */
export function connectLater(path: string, { clock }: Pick<SessionOptions, "clock">): QmpSession {
  const session = QmpSession.later({ clock });
  const reach = async () => {
    while (!session.isClosed) {
      try {
        return await session.begin(await dial(path));
      } catch (error) {
        if (!(error instanceof Error && "code" in error && isNotYet(error.code))) throw error;
      }
      await sleep(clock, laterRetryMs);
    }
  };
  reach().catch((error: unknown) => session.fail(error));
  return session;
}

function unreachable(
  path: string,
  error: unknown,
  { deadlineMs, notYet, aborted }: { deadlineMs: number; notYet: boolean; aborted: boolean },
): QmpConnectError {
  const why = aborted ? "aborted" : notYet ? `no listener within ${deadlineMs} ms` : messageOf(error);
  const dialogue = error instanceof QmpError ? error.dialogue : [];
  return new QmpConnectError(`the monitor at ${path} cannot be reached: ${why}`, dialogue, { cause: error });
}

/** EAGAIN: the queue of connections that wait to be accepted is full. */
const isNotYet = (code: unknown) => code === "ENOENT" || code === "ECONNREFUSED" || code === "EAGAIN";

/**
 * Delays without an answer. Only a few, since nudges that QEMU does not accept stay in the queue ahead of later
 * clients.
 */
const nudgesMs = [500, 2_500] as const;
const nudgeLastsMs = 50;

/**
 * Connects once more while QEMU does not answer. When QEMU starts, two of its threads can be woken to accept one
 * connection: then the main one blocks in `accept` for good, and no monitor is served (QEMU 7.2, once in some
 * thousand starts).
 */
function nudge(path: string, clock: Clock): () => void {
  const timers = nudgesMs.map((ms) =>
    clock.setTimeout(() => {
      const socket = connect(path);
      socket.on("error", () => {});
      clock.setTimeout(() => socket.destroy(), nudgeLastsMs);
    }, ms),
  );
  return () => {
    for (const timer of timers) clock.clearTimeout(timer);
  };
}

const dial = (path: string): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(socket);
    });
    socket.once("error", reject);
  });
