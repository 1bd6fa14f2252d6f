// A connection that is opened when it is needed, and again when it has broken: a question that had no answer is asked
// anew over a new one.

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

  /** @throws RpcConnectError naming the URI and why. */
  async rpc(signal?: AbortSignal): Promise<RpcConnection> {
    this.#open ??= this.#dial(signal);
    return (await this.#open).rpc;
  }

  /** @throws RpcConnectError, and what a call over a connection throws. */
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
