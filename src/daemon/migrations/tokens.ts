// Stores the highest fencing token that this host has seen per guest, from the ids of its migrations. Upholds G1 against
// superseded orchestrators, whose migrations are refused.

import { FileStore } from "../../drivers/platform/file-store.js";
import type { Clock } from "../../effects/ports.js";
import { admits, tokenIn } from "../../protocol/fencing-token.js";
import { libvirtError } from "../rpc/errors.js";

/** Maximum difference between the clocks of hosts and orchestrators. */
const maxAheadMs = 10 * 60_000;

export class Tokens {
  readonly #clock: Pick<Clock, "now">;
  readonly #store: FileStore;
  readonly #highest: Map<string, number>;

  private constructor(clock: Pick<Clock, "now">, store: FileStore, highest: Map<string, number>) {
    this.#clock = clock;
    this.#store = store;
    this.#highest = highest;
  }

  static async open(stateDirectory: string, clock: Pick<Clock, "now">): Promise<Tokens> {
    const store = await FileStore.open(`${stateDirectory}/tokens`, ".token");
    const kept = [...(await store.readAll())].map(([uuid, text]) => [uuid, Number(text)] as const);
    return new Tokens(clock, store, new Map(kept));
  }

  /**
   * @throws LibvirtError when a newer migration of this guest has been seen, or when the token is in the future: one such id
   * would block every later migration of the guest.
   */
  check(uuid: string, migrationId: string): void {
    const highest = this.#highest.get(uuid) ?? null;
    const aheadMs = (tokenIn(migrationId) ?? 0) - this.#clock.now();
    if (aheadMs > maxAheadMs)
      throw libvirtError(
        "OPERATION_INVALID",
        `the token of migration ${migrationId} is ${Math.round(aheadMs / 1000)} s ahead of this host's clock; correct the orchestrator's clock`,
      );
    if (!admits(highest, migrationId))
      throw libvirtError(
        "OPERATION_INVALID",
        `migration ${migrationId} is older than another one of this guest; its orchestrator has been superseded`,
      );
  }

  /** Stores the token of a guest that is already reserved. Durable when it resolves. @throws LibvirtError as `check`. */
  async admit(uuid: string, migrationId: string): Promise<void> {
    this.check(uuid, migrationId);
    const highest = this.#highest.get(uuid) ?? null;
    const token = tokenIn(migrationId);
    if (token === null || token === highest) return;
    // Set before the write is durable, so that an older migration is not admitted meanwhile.
    this.#highest.set(uuid, token);
    await this.#store.write(uuid, String(token));
  }
}
