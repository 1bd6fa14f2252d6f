// Migrations that an orchestrator requests by id. A migration is begun once under its id; a repeated request joins it while it
// is under way and returns its result after it has ended, from any client. It does not depend on a connection.

import { summaryOf } from "../../drivers/journal/summary.js";
import type { Found } from "../../drivers/journal/types.js";
import type { MigrateFlag } from "../../drivers/libvirt/client/flags.js";
import { LibvirtError } from "../../drivers/libvirt/rpc/libvirt-error.js";
import { describeFailure } from "../../protocol/failure.js";
import type { ManagedDomain } from "../domains/managed-domain.js";
import type { Host } from "../host.js";
import { libvirtError } from "../rpc/errors.js";
import { errorOf } from "./answers.js";
import { checkTogether } from "./flag-conflicts.js";
import type { Migrations } from "./registry.js";
import type { StepRequest } from "./request.js";

export interface NamedMove {
  readonly migrationId: string;
  readonly uuid: string;
  readonly destinationUri: string;
  readonly request: StepRequest;
}

/** `away`: the guest does not run here and has not left by this migration. */
export interface MoveEnded {
  readonly end: "arrived" | "stayed" | "lost" | "away";
  readonly why: string;
}

const notHere: MoveEnded = { end: "away", why: "the guest does not run on this host" };

export class Moves {
  readonly #host: Host;
  readonly #migrations: Migrations;
  readonly #underWay = new Map<string, Promise<MoveEnded>>();

  constructor(host: Host, migrations: Migrations) {
    this.#host = host;
    this.#migrations = migrations;
  }

  /** @throws LibvirtError while the result is not known. */
  move(namedMove: NamedMove): Promise<MoveEnded> {
    const { migrationId } = namedMove;
    const before = this.#underWay.get(migrationId);
    if (before !== undefined) return before;
    const moved = this.#move(namedMove).finally(() => this.#underWay.delete(migrationId));
    this.#underWay.set(migrationId, moved);
    return moved;
  }

  async #move({ migrationId, uuid, destinationUri, request }: NamedMove): Promise<MoveEnded> {
    const { journal, tokens } = this.#host;
    if (await journal.has(migrationId)) return this.#ended(uuid, migrationId);
    const entry = this.#live(uuid);
    if (entry === undefined) return notHere;
    let failed = "";
    try {
      checkTogether(request, { side: "source" });
      tokens.check(uuid, migrationId);
      const flags: ReadonlySet<MigrateFlag> = new Set([...request.flags, "PEER2PEER"]);
      const output = await this.#migrations.lead(entry, { ...request, flags }, destinationUri, migrationId);
      if (output.kind !== "arrived")
        failed = errorOf(output.failures, `the migration ended: ${output.kind}`).message;
      if (output.kind === "lost") return { end: "lost", why: failed };
      // The coordinator ended without a decision; a repeated request waits for the source.
      if (output.kind === "undecided" && (await journal.endOfSource(migrationId)) === null)
        throw libvirtError("OPERATION_FAILED", failed);
    } catch (error) {
      if (!(error instanceof LibvirtError)) throw error;
      // The migration has not begun: the journal does not contain it.
      if (!(await journal.has(migrationId))) return { end: "stayed", why: error.message };
      failed = error.message;
    }
    return this.#ended(uuid, migrationId, failed);
  }

  /**
   * Returns the result of a migration that began here, by this daemon or an earlier one. `failed` describes the failures of
   * all sides, which are known only while the migration is under way.
   */
  async #ended(uuid: string, migrationId: string, failed = ""): Promise<MoveEnded> {
    await this.#migrations.coordinating(migrationId);
    const { journal } = this.#host;
    const source = await journal.endOfSource(migrationId);
    if (source === null) return this.#withoutSource(uuid, migrationId, failed);
    const why = failed !== "" ? failed : source.failures.map(describeFailure).join("; ");
    if (source.lostThere) return { end: "lost", why };
    if (source.state === "left") return { end: "arrived", why: "" };
    if (source.state === "stayed") return { end: "stayed", why };
    if (source.state === "lost") return { end: "lost", why };
    throw libvirtError("OPERATION_FAILED", `migration ${migrationId} requires manual intervention: ${why}`);
  }

  /**
   * Handles a migration that the journal contains without the end of a source. When no source has begun here and no side of
   * the migration is under way, none will begin: it never began, or this host is its destination. The guest has not moved.
   */
  async #withoutSource(uuid: string, migrationId: string, failed: string): Promise<MoveEnded> {
    const { journal } = this.#host;
    if (this.#migrations.isUnderWay(migrationId) || hasSource(await journal.find(migrationId)))
      throw libvirtError("OPERATION_TIMEOUT", `migration ${migrationId} has not ended yet`);
    if (this.#live(uuid) === undefined) return notHere;
    const unbegun = `migration id ${migrationId} is already used on this host, which is not its source; use another id`;
    return { end: "stayed", why: failed !== "" ? failed : unbegun };
  }

  #live(uuid: string): ManagedDomain | undefined {
    return this.#host.domains.all.find((entry) => entry.uuid === uuid && entry.live !== null);
  }
}

/** Returns true if a source of the migration has begun on this host, or if its journal cannot be read. */
function hasSource(found: Found): boolean {
  if (found.kind === "absent") return false;
  if (found.kind === "unreadable") return true;
  const { states } =
    found.kind === "summary" ? found.summary : summaryOf(found.story.migrationId, found.story.records);
  return states.source !== undefined;
}
