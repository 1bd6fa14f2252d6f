// Listens on a unix socket with its mode and owner, and replaces a stale socket of a dead process.

import { once } from "node:events";
import { chown, lstat, unlink } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { messageOf } from "../../protocol/effect-result.js";

/** The kernel allows 107 bytes; a longer path would be truncated and name another socket. */
export const isSocketPath = (path: string): boolean => Buffer.byteLength(path) <= 107;

export interface UnixPlace {
  readonly path: string;
  /** Default: 0600. */
  readonly mode?: number;
  /** Default: the process's own. */
  readonly owner?: { readonly uid: number; readonly gid: number };
}

/** Replaces a socket on which no process listens. @throws Error with the path. */
export async function listenUnixSocket(
  { path, mode = 0o600, owner }: UnixPlace,
  accept: (socket: Socket) => void,
): Promise<Server> {
  if (!isSocketPath(path)) throw new Error(`${path} is too long for a unix socket`);
  const server = createServer(accept);
  const bind = async () => {
    // The umask ensures that the socket never has a wider mode, not even briefly; listen() binds synchronously.
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

/** Checks whether the socket exists and no process listens on it. */
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
