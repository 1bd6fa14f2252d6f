// Migrates guests between switchoverds. The source's daemon runs each migration under the requested id. A lost connection does
// not affect it; the request is repeated.

import { bitsOf, toParameters } from "../drivers/libvirt/client/flags.js";
import { Redial } from "../drivers/libvirt/client/reconnecting-client.js";
import { remote } from "../drivers/libvirt/rpc/procedures.js";
import { moveEnds, own } from "../drivers/libvirt/rpc/switchover-program.js";
import type { Clock } from "../effects/ports.js";
import { type DrainHow, defaultMigrationOptions, type Move, type MoveEnd } from "./drain.js";
import type { Mover } from "./run-drain.js";

export interface MoverOptions {
  readonly clock: Clock;
  /** URIs by host, for connections from this machine. */
  readonly uris: ReadonlyMap<string, string>;
  /** URIs by host, for connections between the hosts. Default: the same. */
  readonly peerUris?: ReadonlyMap<string, string>;
}

export class RpcMover implements Mover {
  how: DrainHow = defaultMigrationOptions;
  readonly #options: MoverOptions;
  readonly #connections = new Map<string, Redial>();

  constructor(options: MoverOptions) {
    this.#options = options;
  }

  async move(move: Move, signal: AbortSignal): Promise<{ readonly end: MoveEnd; readonly why: string }> {
    const { uris, peerUris = uris } = this.#options;
    const { flags, parameters } = this.how;
    const rpc = await this.#to(move.from).rpc(signal);
    const asked = {
      migrationId: move.migrationId,
      uuid: move.guest,
      destinationUri: uriIn(peerUris, move.to),
      params: toParameters(parameters),
      flags: bitsOf(["LIVE", "PEER2PEER", ...flags]),
    };
    const { end, why } = await rpc.call(own.procedures.move, asked, {
      deadlineMs: Number.POSITIVE_INFINITY,
      signal,
    });
    const [name] = (Object.keys(moveEnds) as MoveEnd[]).filter((key) => moveEnds[key] === end);
    if (name === undefined) throw new Error(`host ${move.from} returned an unknown result, ${end}`);
    return { end: name, why };
  }

  async abort({ from, guest }: Move): Promise<void> {
    const rpc = await this.#to(from).rpc();
    await rpc.call(remote.procedures.domainAbortJob, { dom: { name: "", uuid: guest, id: -1 } });
  }

  async close(): Promise<void> {
    await Promise.all([...this.#connections.values()].map((connection) => connection.close()));
  }

  #to(host: string): Redial {
    const known = this.#connections.get(host);
    if (known !== undefined) return known;
    const redial = new Redial(uriIn(this.#options.uris, host), this.#options.clock);
    this.#connections.set(host, redial);
    return redial;
  }
}

function uriIn(uris: ReadonlyMap<string, string>, host: string): string {
  const uri = uris.get(host);
  if (uri === undefined) throw new Error(`no URI configured for host ${host}`);
  return uri;
}
