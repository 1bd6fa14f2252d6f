// Reaches a monitor's unix socket that QEMU may be about to create, and opens a session on it.

import { connect, type Socket } from "node:net";
import { QmpConnectError } from "./errors.js";
import { QmpSession, type SessionOptions } from "./session.js";

export interface ConnectOptions extends SessionOptions {
  /** Ends the wait at once, e.g. because the process died. */
  readonly signal?: AbortSignal | undefined;
}

const retryMs = 2;

/** @throws QmpConnectError with the path and the last cause when the deadline passes. */
export async function connectMonitor(path: string, options: ConnectOptions): Promise<QmpSession> {
  const { clock, deadlineMs, signal } = options;
  const endMs = clock.now() + deadlineMs;
  for (;;) {
    try {
      return await QmpSession.open(await dial(path), {
        ...options,
        deadlineMs: Math.max(1, endMs - clock.now()),
      });
    } catch (error) {
      const notYet = error instanceof Error && "code" in error && isNotYet(error.code);
      if (!notYet) throw error;
      if (signal?.aborted || clock.now() >= endMs) {
        const why = signal?.aborted ? "QEMU ended" : `nobody listened within ${deadlineMs} ms`;
        throw new QmpConnectError(`the monitor at ${path} cannot be reached: ${why}`, [], { cause: error });
      }
      await new Promise<void>((resolve) => clock.setTimeout(resolve, retryMs));
    }
  }
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
