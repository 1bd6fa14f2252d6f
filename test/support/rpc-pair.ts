// A server and its clients over a real unix socket, for one test; all of them end with it.

import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { RpcConnection } from "../../src/drivers/libvirt/rpc/client.js";
import { RpcServer, type ServerOptions } from "../../src/drivers/libvirt/rpc/server.js";
import { systemClock } from "../../src/drivers/platform/clock.js";

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "rpc-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export interface Pair {
  readonly path: string;
  readonly server: RpcServer;
  connect(): Promise<RpcConnection>;
  /** A client that sends raw bytes. */
  raw(): Promise<Socket>;
}

export async function pair(options: Omit<ServerOptions, "clock">): Promise<Pair> {
  const path = join(temporaryDirectory(), "sock");
  const server = new RpcServer({ clock: systemClock, ...options });
  await server.listenUnix({ path });
  onTestFinished(() => server.stop({ deadlineMs: 0 }));
  const raw = () => dialled(path);
  return { path, server, raw, connect: async () => new RpcConnection(await raw(), systemClock) };
}

/** A server that sends raw bytes. */
export async function rawServer(serve: (socket: Socket) => void): Promise<string> {
  const path = join(temporaryDirectory(), "sock");
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return path;
}

export function dialled(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => resolve(socket));
    socket.once("error", reject);
    onTestFinished(() => {
      socket.destroy();
    });
  });
}

/** A promise and the function that resolves it. */
export function gate<T = void>(): { readonly opened: Promise<T>; open(value: T): void } {
  let open: (value: T) => void = () => {};
  const opened = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
