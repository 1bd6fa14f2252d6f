// Reaches a daemon's socket: unix, TCP, or TLS with our certificate, until a deadline. What is said there is not its own.

import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { connect as connectTls, TLSSocket } from "node:tls";
import type { Clock } from "../../../effects/ports.js";
import { messageOf } from "../../../protocol/effect-result.js";
import { isSocketPath } from "../../platform/listen.js";
import { readCredentials } from "./certificates.js";
import { RpcConnectError } from "./errors.js";
import type { Address } from "./uri.js";

export interface ConnectOptions {
  readonly clock: Clock;
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** What a server says after the handshake when it takes our certificate. */
export const startByte = 1;

/** @throws RpcConnectError with the address: nobody let us in, in time, or the wait was given up. */
export async function dial(address: Address, options: ConnectOptions): Promise<Socket> {
  try {
    const begin = await prepare(address);
    // In one turn: a connection may fail in the very next one, and must be heard.
    return await letIn(begin(), options);
  } catch (error) {
    const where = address.transport === "unix" ? pathOf(address) : `${address.host}:${address.port}`;
    throw new RpcConnectError(`cannot connect to ${where}: ${messageOf(error)}`, { cause: error });
  }
}

const pathOf = ({ paths }: Extract<Address, { transport: "unix" }>): string =>
  paths.find(existsSync) ?? paths[0];

async function prepare(address: Address): Promise<() => Socket | TLSSocket> {
  if (address.transport === "unix") {
    const path = pathOf(address);
    if (!isSocketPath(path)) throw new Error("the path is too long for a unix socket");
    return () => connect(path);
  }
  const { host, port } = address;
  if (address.transport === "tcp") return () => connect({ host, port });
  const credentials = await readCredentials("client", address.pkiPath);
  return () => connectTls({ host, port, ...credentials, rejectUnauthorized: true });
}

async function letIn(
  socket: Socket | TLSSocket,
  { clock, deadlineMs, signal }: ConnectOptions,
): Promise<Socket> {
  const giveUp = () => socket.destroy(new Error("given up"));
  const timer = clock.setTimeout(
    () => socket.destroy(new Error(`nobody let us in within ${deadlineMs} ms`)),
    deadlineMs,
  );
  signal?.addEventListener("abort", giveUp, { once: true });
  if (signal?.aborted) giveUp();
  try {
    if (socket instanceof TLSSocket) {
      await once(socket, "secureConnect");
      await welcome(socket);
    } else {
      await once(socket, "connect");
    }
    socket.setNoDelay(true);
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    clock.clearTimeout(timer);
    signal?.removeEventListener("abort", giveUp);
  }
}

async function welcome(socket: Socket): Promise<void> {
  const byte = await new Promise<number | undefined>((resolve, reject) => {
    const look = () => {
      const bytes: Buffer | null = socket.read(1);
      if (bytes === null && !socket.readableEnded) return;
      socket.off("readable", look);
      resolve(bytes?.[0]);
    };
    socket.on("readable", look);
    socket.once("end", () => resolve(undefined));
    socket.once("close", () => resolve(undefined));
    socket.once("error", reject);
  });
  if (byte === undefined) throw new Error("the server has closed: it does not let our certificate in");
  if (byte !== startByte) throw new Error(`the server refuses our certificate (it says ${byte})`);
}
