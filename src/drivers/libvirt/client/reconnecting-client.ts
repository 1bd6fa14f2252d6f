// RPC client that connects on demand and reconnects after the connection breaks: the next call uses a fresh connection.

import type { Clock } from "../../../effects/ports.js";
import type { CallOptions, RpcConnection } from "../rpc/client.js";
import { type OpenConnection, openConnection } from "../rpc/open.js";
import type { Procedure } from "../rpc/program.js";

export class Redial {
  readonly uri: string;
  readonly #clock: Clock;
  #open: Promise<OpenConnection> | undefined;

  constructor(uri: string, clock: Clock) {
    this.uri = uri;
    this.#clock = clock;
  }

  /** Returns the open connection, or opens one. @throws RpcConnectError naming the URI and the reason. */
  async rpc(signal?: AbortSignal): Promise<RpcConnection> {
    this.#open ??= this.#dial(signal);
    return (await this.#open).rpc;
  }

  /** @throws RpcConnectError, and the errors of an RPC call. */
  async call<A, R>(procedure: Procedure<A, R, false>, args: A, options: CallOptions = {}): Promise<R> {
    return (await this.rpc(options.signal)).call(procedure, args, options);
  }

  async close(): Promise<void> {
    await (await this.#open?.catch(() => undefined))?.close();
  }

  async #dial(signal: AbortSignal | undefined): Promise<OpenConnection> {
    const forget = () => {
      this.#open = undefined;
    };
    try {
      const opened = await openConnection(this.uri, { clock: this.#clock, signal });
      void opened.rpc.closed.then(forget);
      return opened;
    } catch (error) {
      forget();
      throw error;
    }
  }
}
