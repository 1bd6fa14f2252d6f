// Applies an operator's decision about which copy is the guest, where this host cannot decide. Upholds G1: unreadable stories
// are set aside, and requests about them are answered "not known" from then on.

import type { Decision } from "../../protocol/messages.js";
import type { ManagedDomain } from "../domains/managed-domain.js";
import type { Presence } from "../domains/records.js";
import type { Unreadable } from "../domains/recovery.js";
import type { Host } from "../host.js";
import { libvirtError } from "../rpc/errors.js";

export class OperatorDecisions {
  readonly #host: Host;
  /** Unreadable stories, by migration id. */
  readonly #unreadable: Map<string, Unreadable>;

  constructor(host: Host, unreadable: Map<string, Unreadable>) {
    this.#host = host;
    this.#unreadable = unreadable;
  }

  /** Records an operator's decision that this host's copy is the guest. @throws LibvirtError */
  async adopt(entry: ManagedDomain): Promise<void> {
    if (await this.#decided(entry, "adopted")) return;
    await this.#checkUnreadable(entry);
    await this.#host.domains.adopt(entry, async (presence) => {
      const incoming = presence?.incoming ?? null;
      await this.endDoubt(entry.uuid, presence, (migrationId) => (migrationId === incoming ? "taken" : null));
    });
  }

  /** Records an operator's decision that the guest is not on this host. @throws LibvirtError */
  async release(entry: ManagedDomain): Promise<void> {
    if (await this.#decided(entry, "released")) return;
    await this.#host.domains.release(entry);
  }

  /** A migration whose story is readable ends by itself when its QEMU answers. @throws LibvirtError */
  async #checkUnreadable({ uuid, name }: ManagedDomain): Promise<void> {
    const presence = await this.#host.domains.presenceOf(uuid).catch(() => undefined);
    const migrationId = presence?.incoming ?? presence?.departing ?? null;
    if (migrationId === null || !this.#unreadable.has(migrationId)) return;
    if ((await this.#host.journal.find(migrationId)).kind === "story")
      throw libvirtError(
        "OPERATION_INVALID",
        `the QEMU of '${name}' does not answer; migration ${migrationId} continues by itself when it does`,
      );
  }

  /** Passes the decision to a migration under way; returns false when there is none. */
  async #decided(entry: ManagedDomain, how: "adopted" | "released"): Promise<boolean> {
    const { job, authority } = entry;
    if (job?.decide === undefined || !authority.getSnapshot().matches("departing")) return false;
    await job.decide(how);
    return true;
  }

  /** Sets the guest's unreadable stories aside for good, after an operator decided how those migrations ended on this host. */
  async endDoubt(
    uuid: string,
    presence: Presence | undefined,
    decide: (migrationId: string) => Decision | null = () => null,
  ): Promise<void> {
    const { journal, domains } = this.#host;
    const name = domains.nameOf(uuid) ?? uuid;
    const named = [presence?.incoming, presence?.departing].filter((id) => id !== undefined && id !== null);
    const unreadable = [...this.#unreadable].filter(([, found]) => found.uuid === uuid).map(([id]) => id);
    for (const migrationId of new Set([...named, ...unreadable])) {
      const { kind } = await journal.find(migrationId);
      if (kind !== "unreadable" && kind !== "absent") continue;
      await journal.setAside(migrationId, { uuid, name }, decide(migrationId));
      this.#unreadable.delete(migrationId);
    }
  }
}
