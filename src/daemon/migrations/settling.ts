// Answers the requests of sources to this host as their destination, by migration id: who has the guest, and where a post-copy
// that lost its connection reconnects. Upholds G1 and G3: a decision is durable before the host answers with it, and missing
// knowledge does not count as a refusal.

import type { LibvirtError } from "../../drivers/libvirt/rpc/libvirt-error.js";
import { withLimit } from "../../effects/within.js";
import { answerOfHost } from "../../protocol/host-evidence.js";
import type { Identity, Reconnection, Settled } from "../../protocol/messages.js";
import type { Unreadable } from "../domains/recovery.js";
import type { Host } from "../host.js";
import { libvirtError } from "../rpc/errors.js";
import { unwrap } from "./answers.js";
import type { Incoming } from "./incoming.js";

const settleMs = 4_000;

/** A request of a source. Without a journal or a secret it comes from a host of an older version. */
export interface Question extends Identity {
  readonly journal?: string;
  readonly secret?: string;
}

const notKnown = (migrationId: string, why: string): LibvirtError =>
  libvirtError("OPERATION_TIMEOUT", `it is not known who has the guest of migration ${migrationId}: ${why}`);

/** The daemon's tables of incoming migrations. */
export interface MigrationsIn {
  readonly incoming: ReadonlyMap<string, Incoming>;
  /** Unreadable stories, by migration id. */
  readonly unreadable: ReadonlyMap<string, Unreadable>;
  /** Migrations that were answered *refused* before they arrived, so that they cannot arrive any more. */
  readonly settled: Set<string>;
}

export class Settling {
  readonly #host: Host;
  readonly #table: MigrationsIn;

  constructor(host: Host, table: MigrationsIn) {
    this.#host = host;
    this.#table = table;
  }

  /**
   * Returns whether the guest has been taken on this host, the destination. A migration that never arrived is refused for good
   * if this host's own journal proves that. `undecidable` as long as the journal is lost or unreadable, or the guest is
   * quarantined.
   * @throws LibvirtError OPERATION_TIMEOUT when it is not known yet.
   */
  async settle(question: Question, how: "settle" | "concede" | "handOver"): Promise<Settled> {
    const { journal, clock, domains } = this.#host;
    const { migrationId, uuid } = question;
    const isUnreadable = this.#table.unreadable.has(migrationId) || journal.isDoubtful(migrationId);
    const isAsked = isUnreadable || this.#table.incoming.has(migrationId);
    const decided = isAsked ? null : await journal.decisionOf(migrationId);
    const isQuarantined = domains.quarantineOf(uuid) !== null;
    const isOtherJournal = question.journal !== undefined && question.journal !== journal.identity;
    const answer = answerOfHost({
      isUnreadable,
      decided,
      isOtherJournal,
      // The migration may have arrived during the await.
      isComing: this.#table.incoming.has(migrationId),
      isQuarantined,
    });
    switch (answer) {
      case "taken":
      case "refused":
        return answer;
      case "askMachine":
        return this.#askMachine(question, how);
      case "unknown":
        return "undecidable";
      case "refuseForGood":
        this.#table.settled.add(migrationId);
        await journal.append({
          kind: "tombstone",
          migrationId,
          side: "destination",
          atMs: clock.now(),
          uuid,
        });
        return "refused";
    }
  }

  async #askMachine(question: Question, how: "settle" | "concede" | "handOver"): Promise<Settled> {
    const { migrationId, uuid, secret } = question;
    const begun = this.#table.incoming.get(migrationId);
    // Any client may read an existing decision; only a request of the source makes this host decide.
    const decided = how === "settle" && begun?.identity.uuid === uuid ? begun.decision : null;
    if (decided !== null && !begun?.isAskedBy(secret)) return decided;
    const incoming = this.#incomingAsked(question);
    if (incoming === undefined) throw notKnown(migrationId, "it is no longer under way on this host");
    return unwrap(await this.#limited((signal) => incoming.peer[how](question, signal)));
  }

  #limited<T>(ask: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return withLimit(this.#host.clock, settleMs, ask);
  }

  /** Returns the incoming guest that a source asks about. @throws LibvirtError when the request is not from that source. */
  #incomingAsked({ migrationId, uuid, secret }: Question): Incoming | undefined {
    const incoming = this.#table.incoming.get(migrationId);
    if (incoming === undefined) return undefined;
    if (incoming.identity.uuid !== uuid)
      throw libvirtError("INVALID_ARG", `migration ${migrationId} belongs to another domain than ${uuid}`);
    if (!incoming.isAskedBy(secret))
      throw libvirtError(
        "OPERATION_DENIED",
        `the request about migration ${migrationId} does not carry its source's secret`,
      );
    return incoming;
  }

  /** Announces post-copy: from now on only the source gives the guest up. @throws LibvirtError when no such guest is incoming. */
  async announcePostcopy(identity: Question): Promise<void> {
    const incoming = this.#incomingAsked(identity);
    if (incoming === undefined) throw libvirtError("OPERATION_INVALID", "no such incoming guest");
    unwrap(await this.#limited((signal) => incoming.peer.announcePostcopy(identity, signal)));
  }

  /** Listens again for a source in post-copy whose connection was lost. */
  async reconnect(identity: Question): Promise<Reconnection> {
    const { migrationId } = identity;
    const incoming = this.#incomingAsked(identity);
    if (this.#table.unreadable.has(migrationId)) throw notKnown(migrationId, "its story cannot be read");
    if (incoming === undefined && (await this.#host.journal.decisionOf(migrationId)) === null)
      throw notKnown(migrationId, "this host's journal does not contain it");
    if (incoming === undefined)
      return (await this.#host.journal.hasArrived(identity.migrationId)) ? "arrived" : "lost";
    return unwrap(await this.#limited((signal) => incoming.peer.reconnect(identity, signal)));
  }
}
