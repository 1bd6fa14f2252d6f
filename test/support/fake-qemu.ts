// A fake QEMU on a real unix socket, for behaviour that a real one does not show on demand: silence, garbage, a late answer.

import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Received {
  readonly execute?: string;
  readonly "exec-oob"?: string;
  readonly arguments?: unknown;
  readonly id: string;
}

export interface FakeQemu {
  readonly path: string;
  send(message: object | string): void;
  close(): Promise<void>;
}

export const greeting = { QMP: { version: {}, capabilities: ["oob"] } };

/**
 * `answer` receives each command except qmp_capabilities, and its result is sent; undefined means silence. With `hangs` it
 * answers no client before a second one connects.
 */
export async function fakeQemu(
  answer: (command: Received) => object | string | undefined,
  first: object | string | null = greeting,
  { negotiates = true, hangs = false } = {},
): Promise<FakeQemu> {
  const directory = await mkdtemp(join(tmpdir(), "fake-qemu-"));
  const path = join(directory, "qmp.sock");
  const sockets: Socket[] = [];
  const text = (message: object | string) =>
    typeof message === "string" ? message : `${JSON.stringify(message)}\r\n`;
  let wake = () => {};
  const woken = hangs
    ? new Promise<void>((resolve) => {
        wake = resolve;
      })
    : undefined;
  const server = createServer((socket) => {
    sockets.push(socket);
    if (sockets.length > 1) wake();
    if (first !== null) socket.write(text(first));
    socket.on("error", () => {});
    socket.on("data", async (bytes) => {
      await woken;
      for (const line of bytes
        .toString()
        .split("\n")
        .filter((line) => line !== "")) {
        const command = JSON.parse(line) as Received;
        const reply =
          command.execute === "qmp_capabilities" && negotiates
            ? { return: {}, id: command.id }
            : answer(command);
        if (reply !== undefined) socket.write(text(reply));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    path,
    send: (message) => {
      for (const socket of sockets) socket.write(text(message));
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await rm(directory, { recursive: true, force: true });
    },
  };
}
