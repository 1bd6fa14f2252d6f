// A fake QEMU on a real unix socket, for what a real one does not do on demand: silence, garbage, a late answer.

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
 * `answer` gets each command but qmp_capabilities, and what it returns is sent; undefined: silence. One that hangs answers
 * nobody before somebody else connects.
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
        .filter((candidate) => candidate !== "")) {
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
