// Migrations that an orchestrator has named: one is begun once under its id, joined while it is under way, and told of when it
// has ended, however often it is asked for and by whom. It depends on no connection.

import type { MigrateFlag } from "../../drivers/libvirt/client/flags.js";
import { LibvirtError } from "../../drivers/libvirt/rpc/libvirt-error.js";
import { describeFailure } from "../../protocol/failures.js";
import type { Host } from "../host.js";
import { no } from "../rpc/errors.js";
import { errorOf } from "./answers.js";
import { checkTogether } from "./flag-conflicts.js";
import type { Migrations } from "./registry.js";
import type { StepWords } from "./request.js";

export interface NamedMove {
  readonly migrationId: string;
  readonly uuid: string;
  readonly destinationUri: string;
  readonly words: StepWords;
}

/** `away`: no such guest runs here, and none has left by this migration. */
export interface MoveEnded {
  readonly end: "arrived" | "stayed" | "lost" | "away";
  readonly why: string;
}

export class Moves {
  readonly #host: Host;
  readonly #migrations: Migrations;
  readonly #underWay = new Map<string, Promise<MoveEnded>>();

  constructor(host: Host, migrations: Migrations) {
    this.#host = host;
    this.#migrations = migrations;
  }

  /** @throws LibvirtError while its end is not known. */
  move(it: NamedMove): Promise<MoveEnded> {
    const { migrationId } = it;
    const before = this.#underWay.get(migrationId);
    if (before !== undefined) return before;
    const moved = this.#move(it).finally(() => this.#underWay.delete(migrationId));
    this.#underWay.set(migrationId, moved);
    return moved;
  }

  async #move({ migrationId, uuid, destinationUri, words }: NamedMove): Promise<MoveEnded> {
    const { domains, journal, tokens } = this.#host;
    if (await journal.has(migrationId)) return this.#ended(migrationId);
    const entry = domains.all.find((it) => it.uuid === uuid);
    if (entry === undefined || entry.live === null)
      return { end: "away", why: "the guest does not run here" };
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
        throw no("OPERATION_FAILED", failed);
    } catch (error) {
      if (!(error instanceof LibvirtError)) throw error;
      // It has not begun: nothing of it is in the journal.
      if (!(await journal.has(migrationId))) return { end: "stayed", why: error.message };
      failed = error.message;
    }
    return this.#ended(migrationId, failed);
  }

  /**
   * Of one that has begun here, by this daemon or by one before it. `failed`: the failures of all that took part, known while
   * it is under way.
   */
  async #ended(migrationId: string, failed = ""): Promise<MoveEnded> {
    await this.#migrations.coordinating(migrationId);
    const { journal } = this.#host;
    const source = await journal.endOfSource(migrationId);
    if (source === null) throw no("OPERATION_TIMEOUT", `the migration ${migrationId} has not ended yet`);
    const why = failed !== "" ? failed : source.failures.map(describeFailure).join("; ");
    if (source.lostThere) return { end: "lost", why };
    if (source.state === "left") return { end: "arrived", why: "" };
    if (source.state === "stayed") return { end: "stayed", why };
    if (source.state === "lost") return { end: "lost", why };
    throw no("OPERATION_FAILED", `the migration ${migrationId} needs a person: ${why}`);
  }
}
