// The destination as a source on another host reaches it, to settle: a connection of its own for each question, so that
// it depends on nothing that may have broken. Upholds G2: it is asked until it has answered.

import type { Clock, SettlingPeer } from "../effects/ports.js";
import { type Answer, done, messageOf, unknown } from "../protocol/answer.js";
import type { Decision, Identity } from "../protocol/messages.js";
import { openConnection } from "./libvirt-rpc/open.js";
import { decisions, settling } from "./libvirt-rpc/settle-program.js";

const answerMs = 4_500;

export class SettlePeer implements SettlingPeer {
  readonly #clock: Clock;
  /** Told by the destination in Prepare's answer; undefined before, and when it has none. */
  uri: string | undefined;

  constructor(clock: Clock, uri?: string) {
    this.#clock = clock;
    this.uri = uri;
  }

  settle = (identity: Identity, signal: AbortSignal): Promise<Answer<Decision>> =>
    this.#ask("settle", identity, signal);

  yield = (identity: Identity, signal: AbortSignal): Promise<Answer<Decision>> =>
    this.#ask("yield", identity, signal);

  async #ask(what: "settle" | "yield", identity: Identity, signal: AbortSignal): Promise<Answer<Decision>> {
    if (this.uri === undefined) return unknown("the destination has not said where it can be asked");
    try {
      const options = { clock: this.#clock, deadlineMs: answerMs, signal };
      const connection = await openConnection(this.uri, options);
      try {
        const asked = settling.procedures[what];
        const { decision } = await connection.rpc.call(asked, identity, { deadlineMs: answerMs, signal });
        if (decision === decisions.taken) return done("taken");
        if (decision === decisions.refused) return done("refused");
        return unknown(`the destination's answer ${decision} is not known`);
      } finally {
        void connection.close();
      }
    } catch (error) {
      return unknown(messageOf(error));
    }
  }
}
