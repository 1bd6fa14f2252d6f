// Listens on a unix socket with its mode and owner, in the place of one that a dead process has left.

import { once } from "node:events";
import { chown, lstat, unlink } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { messageOf } from "../../protocol/effect-result.js";

/** The kernel holds 107 bytes; what is longer would be cut off, and be another socket. */
export const isSocketPath = (path: string): boolean => Buffer.byteLength(path) <= 107;

export interface UnixPlace {
  readonly path: string;
  /** Default: 0600. */
  readonly mode?: number;
  /** Default: the process's own. */
  readonly owner?: { readonly uid: number; readonly gid: number };
}

/** Takes the place of a socket that nobody listens on any more. @throws Error with the path. */
export async function listenUnixSocket(
  { path, mode = 0o600, owner }: UnixPlace,
  accept: (socket: Socket) => void,
): Promise<Server> {
  if (!isSocketPath(path)) throw new Error(`${path} is too long for a unix socket`);
  const server = createServer(accept);
  const bind = async () => {
    // The socket must never be there with a wider mode, not even for a moment; binding happens in this turn.
    const usual = process.umask(~mode & 0o777);
    try {
      server.listen(path);
    } finally {
      process.umask(usual);
    }
    await once(server, "listening");
  };
  try {
    await bind().catch(async (error: unknown) => {
      if (codeOf(error) !== "EADDRINUSE" || !(await isStale(path))) throw error;
      await unlink(path);
      await bind();
    });
    if (owner !== undefined) await chown(path, owner.uid, owner.gid);
    return server;
  } catch (error) {
    server.close();
    throw new Error(`cannot listen on ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** A socket is there, and nobody behind it. */
async function isStale(path: string): Promise<boolean> {
  if (!(await lstat(path)).isSocket()) return false;
  const socket = connect(path);
  try {
    await once(socket, "connect");
    return false;
  } catch (error) {
    return codeOf(error) === "ECONNREFUSED";
  } finally {
    socket.destroy();
  }
}

const codeOf = (error: unknown): unknown =>
  error instanceof Error && "code" in error ? error.code : undefined;
