// Moves guests between switchoverds: each migration is the source's daemon's own, under the id that it is asked for by. A lost
// connection changes nothing about it; it is asked for again.

import { bitsOf, toParameters } from "../drivers/libvirt/client/flags.js";
import { Redial } from "../drivers/libvirt/client/reconnecting-client.js";
import { remote } from "../drivers/libvirt/rpc/procedures.js";
import { moveEnds, own } from "../drivers/libvirt/rpc/switchover-program.js";
import type { Clock } from "../effects/ports.js";
import { type DrainHow, defaultMigrationOptions, type Move, type MoveEnd } from "./drain.js";
import type { Mover } from "./run-drain.js";

export interface MoverOptions {
  readonly clock: Clock;
  /** By host: how it is reached from here. */
  readonly uris: ReadonlyMap<string, string>;
  /** By host: how the other hosts reach it. Default: the same. */
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
    if (name === undefined) throw new Error(`the host's answer ${end} is not known`);
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
  if (uri === undefined) throw new Error(`nobody has said how ${host} is reached`);
  return uri;
}
