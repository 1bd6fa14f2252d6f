// Listens for clients: on a unix socket with its mode and owner, on TCP, or on TLS with verified client certificates. Each
// accepted connection is passed on with the identity of its client.

import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { messageOf } from "../../../protocol/effect-result.js";
import { listenUnixSocket, type UnixPlace } from "../../platform/listen.js";
import { type Admission, addressOf } from "./admission.js";
import { distinguishedName, isAllowed, readCredentials } from "./certificates.js";
import { startByte } from "./connect.js";
import { RpcListenError } from "./errors.js";
import type { ClientIdentity } from "./service.js";

export interface TcpPlace {
  readonly host: string;
  /** 0 selects any free port. */
  readonly port: number;
}

export interface TlsPlace extends TcpPlace {
  /** A directory with certificates and key; default: libvirt's places below /etc/pki. */
  readonly pkiPath?: string;
  /** libvirt's tls_allowed_dn_list; without it, every client with a certificate of the CA is accepted. */
  readonly allowedDns?: readonly string[];
}

export type Accept = (socket: Socket, identity: ClientIdentity) => void;

/** Node's own limit, set far above that of `Admission`, which closes the connection by the server's clock. */
const nodesHandshakeMs = 24 * 60 * 60 * 1_000;

/** Replaces a stale socket on which no process listens. @throws RpcListenError */
export async function listenUnix(place: UnixPlace, accept: Accept): Promise<Server> {
  try {
    return await listenUnixSocket(place, (socket) => accept(socket, { transport: "unix" }));
  } catch (error) {
    throw new RpcListenError(messageOf(error), { cause: error });
  }
}

/** Accepts clients without authentication: for a network in which every peer is trusted. @throws RpcListenError */
export const listenTcp = (place: TcpPlace, accept: Accept): Promise<Server> =>
  bound(place, async () =>
    createServer((socket) => {
      socket.setNoDelay(true);
      accept(socket, { transport: "tcp", address: addressOf(socket) });
    }),
  );

/**
 * A client without a certificate of the CA fails the handshake; `admission` limits the number of concurrent handshakes and
 * their duration. @throws RpcListenError
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
      // The raw socket can fail before, between and after the events of the TLS socket around it.
      socket.on("error", () => {});
      admission.enter(socket);
      // Node documents this event as the way to pass a TLS server connections that were accepted elsewhere.
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
