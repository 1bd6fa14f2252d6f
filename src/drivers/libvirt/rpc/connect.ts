// Connects to a daemon's socket: unix, TCP, or TLS with a client certificate, within a deadline. Messages are channel.ts's.

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

/** The byte that a server sends after the handshake when it accepts the client's certificate. */
export const startByte = 1;

/** @throws RpcConnectError with the address, when the server did not accept in time or the caller gave up. */
export async function dial(address: Address, options: ConnectOptions): Promise<Socket> {
  try {
    const begin = await prepare(address);
    // Attach the listeners synchronously: a connection may fail in the next turn.
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
  const giveUp = () => socket.destroy(new Error("the caller gave up"));
  const timer = clock.setTimeout(
    () => socket.destroy(new Error(`the server did not accept the connection within ${deadlineMs} ms`)),
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
  if (byte === undefined)
    throw new Error("the server closed the connection: it does not accept the client certificate");
  if (byte !== startByte) throw new Error(`the server rejected the client certificate (status ${byte})`);
}
