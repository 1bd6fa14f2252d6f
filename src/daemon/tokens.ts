// The newest migration that each guest was ever moved by here, as far as its id carries a token. Upholds G1 against
// orchestrators: one that was replaced, and does not know it, can move nothing any more.

import { admits, tokenIn } from "../protocol/migration-token.js";
import { no } from "./errors.js";
import { FileStore } from "./files.js";

export class Tokens {
  readonly #store: FileStore;
  readonly #highest: Map<string, number>;

  private constructor(store: FileStore, highest: Map<string, number>) {
    this.#store = store;
    this.#highest = highest;
  }

  static async open(stateDirectory: string): Promise<Tokens> {
    const store = await FileStore.open(`${stateDirectory}/tokens`, ".token");
    const kept = [...(await store.readAll())].map(([uuid, text]) => [uuid, Number(text)] as const);
    return new Tokens(store, new Map(kept));
  }

  /** Durable when it resolves. @throws LibvirtError when a newer migration of this guest has been seen. */
  async admit(uuid: string, migrationId: string): Promise<void> {
    const highest = this.#highest.get(uuid) ?? null;
    if (!admits(highest, migrationId))
      throw no(
        "OPERATION_INVALID",
        `the migration ${migrationId} is older than one that this host has seen of the guest: whoever asks for it has been replaced`,
      );
    const token = tokenIn(migrationId);
    if (token === null || token === highest) return;
    // Seen before it is durable: what is older must not slip in meanwhile.
    this.#highest.set(uuid, token);
    await this.#store.write(uuid, String(token));
  }
}
