// Reaches a monitor's unix socket that QEMU may be about to create, and opens a session on it.

import { connect, type Socket } from "node:net";
import { pause } from "../../../effects/pause.js";
import { messageOf } from "../../../protocol/answer.js";
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
      return await QmpSession.open(await dial(path), {
        ...options,
        deadlineMs: Math.max(1, endMs - clock.now()),
      });
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

const isNotYet = (code: unknown) => code === "ENOENT" || code === "ECONNREFUSED";

const dial = (path: string): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(socket);
    });
    socket.once("error", reject);
  });
