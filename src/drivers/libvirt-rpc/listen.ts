// Where a server is reached: a unix socket with its mode and owner, TCP, or TLS with verified client certificates. Who
// comes in is handed on with what is known of him.

import { once } from "node:events";
import { chown, lstat, unlink } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { messageOf } from "../../protocol/answer.js";
import { type Admission, addressOf } from "./admission.js";
import { distinguishedName, isAllowed, readCredentials } from "./certificates.js";
import { isSocketPath, startByte } from "./connect.js";
import { RpcListenError } from "./errors.js";
import type { ClientIdentity } from "./service.js";

export interface UnixPlace {
  readonly path: string;
  /** Default: 0600. */
  readonly mode?: number;
  /** Default: the process's own. */
  readonly owner?: { readonly uid: number; readonly gid: number };
}

export interface TcpPlace {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

export interface TlsPlace extends TcpPlace {
  /** A directory with certificates and key; default: libvirt's places below /etc/pki. */
  readonly pkiPath?: string;
  /** libvirt's tls_allowed_dn_list; without it every client with a certificate of the CA is let in. */
  readonly allowedDns?: readonly string[];
}

export type Accept = (socket: Socket, identity: ClientIdentity) => void;

/** Far behind the limit of `Admission`, which closes first, by the clock of the server. */
const nodesHandshakeMs = 24 * 60 * 60 * 1_000;

/** Takes the place of a socket that nobody listens on any more. @throws RpcListenError */
export async function listenUnix({ path, mode = 0o600, owner }: UnixPlace, accept: Accept): Promise<Server> {
  if (!isSocketPath(path)) throw new RpcListenError(`${path} is too long for a unix socket`);
  const server = createServer((socket) => accept(socket, { transport: "unix" }));
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
    throw new RpcListenError(`cannot listen on ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** Nobody there is asked who he is: for a network where everybody is trusted. @throws RpcListenError */
export const listenTcp = (place: TcpPlace, accept: Accept): Promise<Server> =>
  bound(place, async () =>
    createServer((socket) => {
      socket.setNoDelay(true);
      accept(socket, { transport: "tcp", address: addressOf(socket) });
    }),
  );

/**
 * A client without a certificate of the CA does not get through the handshake; `admission` limits how many are in it, and for
 * how long. @throws RpcListenError
 */
export const listenTls = (place: TlsPlace, accept: Accept, admission: Admission): Promise<Server> =>
  bound(place, async () => {
    const credentials = await readCredentials("server", place.pkiPath);
    const wanted = { requestCert: true, rejectUnauthorized: true, handshakeTimeout: nodesHandshakeMs };
    const tls = createTlsServer({ ...credentials, ...wanted }, (socket) => {
      admission.leave(addressOf(socket));
      const certificate = socket.getPeerX509Certificate();
      const dn = certificate && distinguishedName(certificate);
      if (dn === undefined || !isAllowed(dn, place.allowedDns ?? ["*"])) {
        socket.destroy();
        return;
      }
      socket.setNoDelay(true);
      socket.write(Uint8Array.of(startByte));
      accept(socket, { transport: "tls", address: addressOf(socket), dn });
    });
    tls.on("tlsClientError", (_error, socket) => socket.destroy());
    return createServer((socket) => {
      // It can break before, between and after what the TLS socket around it reports.
      socket.on("error", () => {});
      admission.enter(socket);
      // Node documents this event as the way to give a TLS server connections that something else has accepted.
      tls.emit("connection", socket);
    });
  });

async function bound({ host, port }: TcpPlace, make: () => Promise<Server>): Promise<Server> {
  try {
    const server = await make();
    server.listen({ host, port });
    await once(server, "listening");
    return server;
  } catch (error) {
    throw new RpcListenError(`cannot listen on ${host}:${port}: ${messageOf(error)}`, { cause: error });
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
