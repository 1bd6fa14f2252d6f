// Migrations that an orchestrator has named: one is begun once under its id, joined while it is under way, and told of when it
// has ended, however often it is asked for and by whom. It depends on no connection.

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
  readonly words: StepRequest;
}

/** `away`: no such guest runs here, and none has left by this migration. */
export interface MoveEnded {
  readonly end: "arrived" | "stayed" | "lost" | "away";
  readonly why: string;
}

const notHere: MoveEnded = { end: "away", why: "the guest does not run here" };

export class Moves {
  readonly #host: Host;
  readonly #migrations: Migrations;
  readonly #underWay = new Map<string, Promise<MoveEnded>>();

  constructor(host: Host, migrations: Migrations) {
    this.#host = host;
    this.#migrations = migrations;
  }

  /** @throws LibvirtError while its end is not known. */
  move(namedMove: NamedMove): Promise<MoveEnded> {
    const { migrationId } = namedMove;
    const before = this.#underWay.get(migrationId);
    if (before !== undefined) return before;
    const moved = this.#move(namedMove).finally(() => this.#underWay.delete(migrationId));
    this.#underWay.set(migrationId, moved);
    return moved;
  }

  async #move({ migrationId, uuid, destinationUri, words }: NamedMove): Promise<MoveEnded> {
    const { journal, tokens } = this.#host;
    if (await journal.has(migrationId)) return this.#ended(uuid, migrationId);
    const entry = this.#live(uuid);
    if (entry === undefined) return notHere;
    let failed = "";
    try {
      checkTogether(words, { side: "source" });
      tokens.check(uuid, migrationId);
      const flags: ReadonlySet<MigrateFlag> = new Set([...words.flags, "PEER2PEER"]);
      const output = await this.#migrations.lead(entry, { ...words, flags }, destinationUri, migrationId);
      if (output.kind !== "arrived") failed = errorOf(output.failures, `it ended ${output.kind}`).message;
      if (output.kind === "lost") return { end: "lost", why: failed };
      // Its coordinator has ended without a decision: asked again, this waits for the source.
      if (output.kind === "undecided" && (await journal.endOfSource(migrationId)) === null)
        throw libvirtError("OPERATION_FAILED", failed);
    } catch (error) {
      if (!(error instanceof LibvirtError)) throw error;
      // It has not begun: nothing of it is in the journal.
      if (!(await journal.has(migrationId))) return { end: "stayed", why: error.message };
      failed = error.message;
    }
    return this.#ended(uuid, migrationId, failed);
  }

  /**
   * Of one that has begun here, by this daemon or by one before it. `failed`: the failures of all that took part, known while
   * it is under way.
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
    throw libvirtError("OPERATION_FAILED", `the migration ${migrationId} needs a person: ${why}`);
  }

  /**
   * The journal knows the migration, and no end of a source here. When no source has begun here, and nothing of the migration
   * is under way, none will: it never began, or this host is its destination. The guest is where it was.
   */
  async #withoutSource(uuid: string, migrationId: string, failed: string): Promise<MoveEnded> {
    const { journal } = this.#host;
    if (this.#migrations.isUnderWay(migrationId) || hasSource(await journal.find(migrationId)))
      throw libvirtError("OPERATION_TIMEOUT", `the migration ${migrationId} has not ended yet`);
    if (this.#live(uuid) === undefined) return notHere;
    const unbegun = `this host knows the migration ${migrationId}, and did not begin it as the source; it needs another id`;
    return { end: "stayed", why: failed !== "" ? failed : unbegun };
  }

  #live(uuid: string): ManagedDomain | undefined {
    return this.#host.domains.all.find((entry) => entry.uuid === uuid && entry.live !== null);
  }
}

/** Whether a source of the migration has begun on this host, as far as its journal can be read. */
function hasSource(found: Found): boolean {
  if (found.kind === "absent") return false;
  if (found.kind === "unreadable") return true;
  const { states } =
    found.kind === "summary" ? found.summary : summaryOf(found.story.migrationId, found.story.records);
  return states.source !== undefined;
}
