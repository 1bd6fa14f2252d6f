// Reaches a monitor's unix socket that QEMU may be about to create, and opens a session on it.

import { connect, type Socket } from "node:net";
import type { Clock } from "../../../effects/ports.js";
import { pause } from "../../../effects/sleep.js";
import { messageOf } from "../../../protocol/effect-result.js";
import { QmpConnectError, QmpError } from "./errors.js";
import { QmpSession, type SessionOptions } from "./session.js";

const retryMs = 2;

/** @throws QmpConnectError with the path and the last cause: nobody listened or greeted in time, or given up. */
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
      await pause(clock, retryMs);
    }
  }
}

function unreachable(
  path: string,
  error: unknown,
  { deadlineMs, notYet, aborted }: { deadlineMs: number; notYet: boolean; aborted: boolean },
): QmpConnectError {
  const why = aborted ? "given up" : notYet ? `nobody listened within ${deadlineMs} ms` : messageOf(error);
  const dialogue = error instanceof QmpError ? error.dialogue : [];
  return new QmpConnectError(`the monitor at ${path} cannot be reached: ${why}`, dialogue, { cause: error });
}

/** EAGAIN: others wait there to be served. */
const isNotYet = (code: unknown) => code === "ENOENT" || code === "ECONNREFUSED" || code === "EAGAIN";

/** After so long without an answer. Few, since those that QEMU does not accept wait there before whoever comes next. */
const nudgesMs = [500, 2_500] as const;
const nudgeLastsMs = 50;

/**
 * Connects once more while QEMU does not answer. As it comes up, two of its threads can be woken to accept one connection: then
 * the main one waits in `accept` for another, for good, and answers nobody (QEMU 7.2, once in some thousand starts).
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
    for (const it of timers) clock.clearTimeout(it);
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
