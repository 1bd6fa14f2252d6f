// The memory stream of a tunnelled migration: connects QEMU's Unix socket to the stream within libvirt's connection, at either
// end and in both directions: a destination that cannot load the stream reports it on QEMU's return path.

import { mkdir, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { prepareTunnel, type StepCalls } from "../../drivers/libvirt/client/protocol-calls.js";
import type { Redial } from "../../drivers/libvirt/client/reconnecting-client.js";
import type { RpcStream } from "../../drivers/libvirt/rpc/stream.js";
import { anywhere, partsOf, type StreamAddress, socketPath, unixAddress } from "../../protocol/peer-text.js";

export const oneWay =
  "libvirtd's tunnel has no return path: if the destination failed to load the guest, no copy would run";

/** Joins the two until both have ended; an error on one destroys the other. */
function joined(socket: Socket, stream: RpcStream): void {
  const broken = (error: Error) => {
    socket.destroy();
    stream.destroy(error);
  };
  pipeline(socket, stream).catch(broken);
  pipeline(stream, socket).catch(broken);
}

/** Connects the destination's end. `at` is the address of its QEMU. */
export async function receiveTunnel(at: StreamAddress, stream: RpcStream): Promise<void> {
  const parts = partsOf(at);
  if (parts.type !== "unix") throw new Error(`bug: a tunnel must end in a Unix socket, not in ${at}`);
  const socket = connect({ path: parts.path, allowHalfOpen: true });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  joined(socket, stream);
}

/** The source's end: sends Prepare to the destination and accepts one QEMU. */
export class TunnelOut {
  readonly #connection: Redial;
  /** A directory for this migration only. */
  readonly #directory: string;
  #server: Server | undefined;

  /** `connection` must carry only the stream. */
  constructor(connection: Redial, directory: string) {
    this.#connection = connection;
    this.#directory = directory;
  }

  /** Returns the Prepare call that replaces the one without a tunnel. */
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

  /** Listens for the source's QEMU, and returns the address. */
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
