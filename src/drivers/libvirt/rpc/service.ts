// What a server does: a table of handlers with the names and types of a program's procedures. A handler that throws a
// LibvirtError has that error as its reply.

import { authTypes, features } from "./constants.js";
import type { RpcDisconnectedError } from "./errors.js";
import { remote } from "./procedures.js";
import type { Message, Procedure, Program } from "./program.js";
import type { RpcStream } from "./stream.js";

export type ClientIdentity =
  /** Let in by the socket's owner, group and mode; Node does not tell who is at the other end. */
  | { readonly transport: "unix" }
  | { readonly transport: "tcp"; readonly address: string }
  /** The name in the client's certificate, which was verified. */
  | { readonly transport: "tls"; readonly address: string; readonly dn: string };

/** A client as a handler sees it. */
export interface RpcClient {
  /** Never given twice by one server. */
  readonly id: number;
  readonly identity: ClientIdentity;
  /** For whoever opens the hypervisor to set, and for the handlers to obey. */
  readOnly: boolean;
  /** Resolves, never rejects, when the client is gone. */
  readonly closed: Promise<RpcDisconnectedError>;
  /** Tells what was not asked for, in order with the replies. */
  send<T>(message: Message<T>, body: T): void;
  /** Pings the client from now on; false: the server is not configured to. */
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

/** A stream procedure's handler gets its stream; what it writes there goes out after its reply. */
export function serve<P extends Program>(program: P, handlers: Handlers<P["procedures"]>): Service {
  const served = new Map<number, Served>();
  for (const [name, procedure] of Object.entries(program.procedures)) {
    // The one place where TypeScript loses which handler belongs to which procedure; `Handlers` has just checked it.
    const handle = handlers[name] as Served["handle"] | undefined;
    if (handle !== undefined) served.set(procedure.number, { procedure, handle });
  }
  return { program: program.number, version: program.version, served };
}

/**
 * libvirt's own program, with what the connection itself answers: nobody needs to authenticate beyond what let him in, and
 * who asks for keepalive is pinged.
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
