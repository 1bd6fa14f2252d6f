// The memory stream of a tunnelled migration: QEMU's unix socket, joined to the stream within libvirt's connection, at
// either end. Both ways: a destination that cannot load what comes says so on QEMU's return path.

import { mkdir, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { prepareTunnel, type StepCalls } from "../../drivers/libvirt/client/protocol-calls.js";
import type { Redial } from "../../drivers/libvirt/client/reconnecting-client.js";
import type { RpcStream } from "../../drivers/libvirt/rpc/stream.js";
import { anywhere, partsOf, type StreamAddress, socketPath, unixAddress } from "../../protocol/peer-text.js";

export const oneWay =
  "a libvirtd's tunnel has no way back: a destination that cannot load the guest would leave nobody who runs it";

/** Until both have ended; what breaks one breaks the other. */
function joined(socket: Socket, stream: RpcStream): void {
  const broken = (error: Error) => {
    socket.destroy();
    stream.destroy(error);
  };
  pipeline(socket, stream).catch(broken);
  pipeline(stream, socket).catch(broken);
}

/** The destination's end. `at` is where its QEMU listens. */
export async function receiveTunnel(at: StreamAddress, stream: RpcStream): Promise<void> {
  const parts = partsOf(at);
  if (parts.type !== "unix") throw new Error(`a tunnel ends in a unix socket, not in ${at}`);
  const socket = connect({ path: parts.path, allowHalfOpen: true });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  joined(socket, stream);
}

/** The source's end: has the destination prepare, and lets one QEMU in. */
export class TunnelOut {
  readonly #connection: Redial;
  /** Of this migration alone. */
  readonly #directory: string;
  #server: Server | undefined;

  /** `connection` carries the stream and nothing else. */
  constructor(connection: Redial, directory: string) {
    this.#connection = connection;
    this.#directory = directory;
  }

  /** Prepare, in place of the one without a tunnel. */
  preparing(hasParameters: boolean): StepCalls["prepare"] {
    return async (_at, step) => {
      const rpc = await this.#connection.rpc(step.options.signal);
      const { ret, stream } = await prepareTunnel(rpc, step, hasParameters);
      return { cookieOut: ret.cookieOut, uriOut: await this.#letIn(stream) };
    };
  }

  async close(): Promise<void> {
    this.#server?.close();
    await rm(this.#directory, { recursive: true, force: true });
    await this.#connection.close();
  }

  /** The address for the source's QEMU. */
  async #letIn(stream: RpcStream): Promise<StreamAddress> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const path = socketPath(join(this.#directory, "tunnel.sock"), anywhere);
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      server.close();
      joined(socket, stream);
    });
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.on("error", reject);
      server.listen(path, resolve);
    });
    return unixAddress(path);
  }
}
