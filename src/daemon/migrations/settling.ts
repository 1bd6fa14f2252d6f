// Answers the questions of sources to this host as their destination, by the migration's id: who has the guest, and where a
// post-copy that lost its connection connects again. Upholds G1 and G3: a decision is durable before the host answers with it,
// and missing knowledge does not count as a refusal.

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

/** A question of a source. Without a journal or a secret it comes from a host of an older version. */
export interface Question extends Identity {
  readonly journal?: string;
  readonly secret?: string;
}

const notKnown = (migrationId: string, why: string): LibvirtError =>
  libvirtError(
    "OPERATION_TIMEOUT",
    `it is not known who has the guest of the migration ${migrationId}: ${why}`,
  );

/** What the daemon knows of migrations into this host. */
export interface MigrationsIn {
  readonly incoming: ReadonlyMap<string, Incoming>;
  /** Stories that cannot be read, by migration. */
  readonly unreadable: ReadonlyMap<string, Unreadable>;
  /** Migrations for which *refused* was answered although they never came: they cannot come any more. */
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
   * As the destination: whether the guest has been taken here. A migration that never came is refused, for good, when this
   * host's own journal proves that it never came. `undecidable` until something happens on this host: its journal is lost
   * or cannot be read, or the guest is quarantined.
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
      // It may have come meanwhile.
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
    // A client may know what has been decided; only the source's own question makes this host decide.
    const decided = how === "settle" && begun?.identity.uuid === uuid ? begun.decision : null;
    if (decided !== null && !begun?.isAskedBy(secret)) return decided;
    const incoming = this.#incomingAsked(question);
    if (incoming === undefined) throw notKnown(migrationId, "it is not under way here any more");
    return unwrap(await this.#limited((signal) => incoming.peer[how](question, signal)));
  }

  #limited<T>(ask: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return withLimit(this.#host.clock, settleMs, ask);
  }

  /** The incoming guest that a source asks about. @throws LibvirtError when the question is not from that source. */
  #incomingAsked({ migrationId, uuid, secret }: Question): Incoming | undefined {
    const incoming = this.#table.incoming.get(migrationId);
    if (incoming === undefined) return undefined;
    if (incoming.identity.uuid !== uuid)
      throw libvirtError("INVALID_ARG", `the migration ${migrationId} is of another domain than ${uuid}`);
    if (!incoming.isAskedBy(secret))
      throw libvirtError(
        "OPERATION_DENIED",
        `the question about ${migrationId} does not carry the secret of its source`,
      );
    return incoming;
  }

  /** As the destination: only the source gives the guest up from now on. @throws LibvirtError when it is not coming. */
  async announcePostcopy(identity: Question): Promise<void> {
    const incoming = this.#incomingAsked(identity);
    if (incoming === undefined) throw libvirtError("OPERATION_INVALID", "no such guest is coming in");
    unwrap(await this.#limited((signal) => incoming.peer.announcePostcopy(identity, signal)));
  }

  /** As the destination in post-copy: listens again for a source whose connection was lost. */
  async reconnect(identity: Question): Promise<Reconnection> {
    const { migrationId } = identity;
    const incoming = this.#incomingAsked(identity);
    if (this.#table.unreadable.has(migrationId)) throw notKnown(migrationId, "its story cannot be read");
    if (incoming === undefined && (await this.#host.journal.decisionOf(migrationId)) === null)
      throw notKnown(migrationId, "this host's journal does not know it");
    if (incoming === undefined)
      return (await this.#host.journal.hasArrived(identity.migrationId)) ? "arrived" : "lost";
    return unwrap(await this.#limited((signal) => incoming.peer.reconnect(identity, signal)));
  }
}
