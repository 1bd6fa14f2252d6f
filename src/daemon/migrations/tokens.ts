// The newest migration that each guest was ever moved by here, as far as its id carries a token. Upholds G1 against
// orchestrators: one that was replaced, and does not know it, can move nothing any more.

import { FileStore } from "../../drivers/platform/file-store.js";
import type { Clock } from "../../effects/ports.js";
import { admits, tokenIn } from "../../protocol/fencing-token.js";
import { libvirtError } from "../rpc/errors.js";

/** Clocks of hosts and orchestrators differ by this at most. */
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
   * @throws LibvirtError when a newer migration of this guest has been seen, or when the token lies in the future: one such
   * id would bar the guest from every later migration.
   */
  check(uuid: string, migrationId: string): void {
    const highest = this.#highest.get(uuid) ?? null;
    const aheadMs = (tokenIn(migrationId) ?? 0) - this.#clock.now();
    if (aheadMs > maxAheadMs)
      throw libvirtError(
        "OPERATION_INVALID",
        `the token of the migration ${migrationId} is ${Math.round(aheadMs / 1000)} s ahead of this host's clock: set the orchestrator's clock`,
      );
    if (!admits(highest, migrationId))
      throw libvirtError(
        "OPERATION_INVALID",
        `the migration ${migrationId} is older than one that this host has seen of the guest: whoever asks for it has been replaced`,
      );
  }

  /** For a guest that is reserved already. Durable when it resolves. @throws LibvirtError as `check` does. */
  async admit(uuid: string, migrationId: string): Promise<void> {
    this.check(uuid, migrationId);
    const highest = this.#highest.get(uuid) ?? null;
    const token = tokenIn(migrationId);
    if (token === null || token === highest) return;
    // Seen before it is durable: what is older must not slip in meanwhile.
    this.#highest.set(uuid, token);
    await this.#store.write(uuid, String(token));
  }
}
