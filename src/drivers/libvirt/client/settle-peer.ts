// The destination as a source on another host reaches it to settle. Each query uses a connection of its own, so that it does
// not depend on a connection that may have broken. Upholds G2: the destination is queried until it has answered.

import type { Clock, SettlingPeer } from "../../../effects/ports.js";
import { type Answer, done, messageOf, nothing, unknown } from "../../../protocol/effect-result.js";
import type { Decision, Identity, Reconnection, Settled } from "../../../protocol/messages.js";
import {
  type ConnectionUri,
  type Reach,
  type StreamAddress,
  streamAddress,
} from "../../../protocol/peer-text.js";
import type { RpcConnection } from "../rpc/client.js";
import { errorCodes, LibvirtError } from "../rpc/libvirt-error.js";
import { openConnection } from "../rpc/open.js";
import { decisions, own, reconnections } from "../rpc/switchover-program.js";

const answerMs = 4_500;

export class SettlePeer implements SettlingPeer {
  readonly #clock: Clock;
  readonly #reach: Reach;
  /** From Prepare's answer; undefined before that, and when the destination has none. */
  uri: ConnectionUri | undefined;

  #proof: { readonly secret: string; readonly journal: string } | null = null;
  #idThere: string | undefined;

  /**
   * Sets the proof that this source owns the migration, and the identity of the destination's journal at Prepare. `journal` is
   * null for a host of an older version, which reports no journal and supports the queries without it. `idThere` is the id
   * under which the destination knows the migration, when it differs from the source's.
   */
  prove(secret: string | null, journal: string | null, idThere?: string): void {
    this.#idThere = idThere;
    this.#proof = journal === null ? null : { secret: secret ?? "", journal };
  }

  /**
   * Determines the outcome at a destination that does not support the query, such as a libvirtd, from the evidence of this
   * host's own coordinator. Undefined when a client coordinates the migration: then nothing can be proved.
   */
  proveBy: ((rpc: RpcConnection, signal: AbortSignal) => Promise<Answer<Decision>>) | undefined;

  /** Replaces the address to which an interrupted post-copy stream reconnects. */
  through: (uri: StreamAddress) => Promise<StreamAddress> = async (uri) => uri;

  /** `reach` limits the addresses at which the destination may listen again. */
  constructor(clock: Clock, reach: Reach, uri?: ConnectionUri) {
    this.#clock = clock;
    this.#reach = reach;
    this.uri = uri;
  }

  settle = (identity: Identity, signal: AbortSignal): Promise<Answer<Settled>> =>
    this.#ask(signal, (rpc) => this.#decided(rpc, "settle", identity, signal));

  concede = (identity: Identity, signal: AbortSignal): Promise<Answer<Settled>> =>
    this.#ask(signal, (rpc) => this.#decided(rpc, "concede", identity, signal));

  announcePostcopy = (identity: Identity, signal: AbortSignal): Promise<Answer<null>> =>
    this.#ask(signal, async (rpc) => {
      const options = { deadlineMs: answerMs, signal };
      const asked = this.#asKnownThere(identity);
      if (this.#proof === null) await rpc.call(own.procedures.announcePostcopy, asked, options);
      else await rpc.call(own.procedures.announceAs, { ...asked, ...this.#proof }, options);
      return nothing;
    });

  handOver = (identity: Identity, signal: AbortSignal): Promise<Answer<Settled>> =>
    this.#ask(signal, (rpc) => this.#decided(rpc, "handOver", identity, signal));

  reconnect = (identity: Identity, signal: AbortSignal): Promise<Answer<Reconnection>> =>
    this.#ask<Reconnection>(signal, async (rpc) => {
      const options = { deadlineMs: answerMs, signal };
      const asked = this.#asKnownThere(identity);
      const { state, uri } = await (this.#proof === null
        ? rpc.call(own.procedures.reconnect, asked, options)
        : rpc.call(own.procedures.reconnectAs, { ...asked, ...this.#proof }, options));
      if (state === reconnections.listens)
        return done({ uri: await this.through(streamAddress(uri, this.#reach)) });
      if (state === reconnections.whole) return done("whole");
      if (state === reconnections.arrived) return done("arrived");
      if (state === reconnections.lost) return done("lost");
      return unknown(`the destination gave an unknown answer (${state})`);
    });

  #asKnownThere = (identity: Identity): Identity => ({
    ...identity,
    migrationId: this.#idThere ?? identity.migrationId,
  });

  async #ask<T>(
    signal: AbortSignal,
    question: (rpc: RpcConnection) => Promise<Answer<T>>,
  ): Promise<Answer<T>> {
    if (this.uri === undefined)
      return unknown("the destination has not reported the address at which it can be queried");
    try {
      const options = { clock: this.#clock, deadlineMs: answerMs, signal };
      const connection = await openConnection(this.uri, options);
      try {
        return await question(connection.rpc);
      } finally {
        void connection.close();
      }
    } catch (error) {
      return unknown(messageOf(error));
    }
  }

  async #decided(
    rpc: RpcConnection,
    what: "settle" | "concede" | "handOver",
    identity: Identity,
    signal: AbortSignal,
  ): Promise<Answer<Settled>> {
    const options = { deadlineMs: answerMs, signal };
    const asked = this.#asKnownThere(identity);
    try {
      const { decision } = await (this.#proof === null
        ? rpc.call(own.procedures[what], asked, options)
        : rpc.call(own.procedures[`${what}As`], { ...asked, ...this.#proof }, options));
      if (decision === decisions.taken) return done("taken");
      if (decision === decisions.refused) return done("refused");
      if (decision === decisions.undecidable) return done("undecidable");
      return unknown(`the destination gave an unknown answer (${decision})`);
    } catch (error) {
      if (!(error instanceof LibvirtError) || error.code !== errorCodes.RPC) throw error;
      const unproved = unknown("the destination cannot be queried by the migration id");
      return this.proveBy?.(rpc, signal) ?? unproved;
    }
  }
}
