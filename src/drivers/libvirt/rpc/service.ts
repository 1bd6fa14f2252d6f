// A service: a table of handlers with the names and types of a program's procedures. A LibvirtError that a handler throws is
// sent as the reply.

import { authTypes, features } from "./constants.js";
import type { RpcDisconnectedError } from "./errors.js";
import { remote } from "./procedures.js";
import type { Message, Procedure, Program } from "./program.js";
import type { RpcStream } from "./stream.js";

export type ClientIdentity =
  /** Admitted by the socket's owner, group and mode; Node does not report the peer's credentials. */
  | { readonly transport: "unix" }
  | { readonly transport: "tcp"; readonly address: string }
  /** The name in the client's verified certificate. */
  | { readonly transport: "tls"; readonly address: string; readonly dn: string };

/** A client as a handler sees it. */
export interface RpcClient {
  /** Unique for the lifetime of the server. */
  readonly id: number;
  readonly identity: ClientIdentity;
  /** Set by the handler that opens the hypervisor, and enforced for every later call. */
  readOnly: boolean;
  /** Resolves, never rejects, when the client is gone. */
  readonly closed: Promise<RpcDisconnectedError>;
  /** Sends an unsolicited message, in order with the replies. */
  send<T>(message: Message<T>, body: T): void;
  /** Starts to ping the client; returns false when the server is configured not to. */
  startKeepalive(): boolean;
  close(why: string): void;
}

type Handler<A, R, S> = (
  args: A,
  client: RpcClient,
  ...opened: S extends true ? [stream: RpcStream] : []
) => R | Promise<R>;

export type Handlers<P> = {
  readonly [N in keyof P]?: P[N] extends Procedure<infer A, infer R, infer S> ? Handler<A, R, S> : never;
};

export interface Served {
  readonly procedure: Procedure<unknown, unknown>;
  readonly handle: (args: unknown, client: RpcClient, stream: RpcStream | undefined) => unknown;
}

export interface Service {
  readonly program: number;
  readonly version: number;
  readonly served: ReadonlyMap<number, Served>;
}

/** The handler of a stream procedure receives the stream; data written to it is sent after the reply. */
export function serve<P extends Program>(program: P, handlers: Handlers<P["procedures"]>): Service {
  const served = new Map<number, Served>();
  for (const [name, procedure] of Object.entries(program.procedures)) {
    // The only place where TypeScript loses the type of a handler; `Handlers` has checked it.
    const handle = handlers[name] as Served["handle"] | undefined;
    if (handle !== undefined) served.set(procedure.number, { procedure, handle });
  }
  return { program: program.number, version: program.version, served };
}

/**
 * Serves libvirt's remote program, and answers the connection's own procedures: clients authenticate through the transport
 * only, and a client that requests keepalive is pinged.
 */
export const serveRemote = (handlers: Handlers<typeof remote.procedures>): Service =>
  serve(remote, {
    authList: () => ({ types: [authTypes.none] }),
    ...handlers,
    connectSupportsFeature: async (args, client) =>
      args.feature === features.programKeepalive
        ? { supported: client.startKeepalive() ? 1 : 0 }
        : ((await handlers.connectSupportsFeature?.(args, client)) ?? { supported: 0 }),
  });
