// Tracks which guests that are defined here run on another host, in memory and on disk. Upholds G1: an entry that could not
// be written is kept in memory, and is written before the record that stands for it is replaced.

import { type Away, type DomainRecords, readAway } from "./records.js";

export class AwayGuests {
  readonly #store: DomainRecords["away"];
  /** The hosts that have guests of this one, keyed by domain uuid. */
  readonly #away = new Map<string, Away>();
  /** Records that could not be written, for example on a full disk; keyed by domain uuid. */
  readonly #unwritten = new Map<string, Away>();

  private constructor(store: DomainRecords["away"]) {
    this.#store = store;
  }

  static async open({ away: store }: DomainRecords): Promise<AwayGuests> {
    const guests = new AwayGuests(store);
    for (const [uuid, text] of await store.readAll()) guests.#away.set(uuid, readAway(text));
    return guests;
  }

  /** Returns null when the guest is not known to be elsewhere. */
  of = (uuid: string): Away | null => this.#away.get(uuid) ?? null;

  /** Durable when it resolves. Null means that the guest is not elsewhere. When it rejects, the guest still counts as away. */
  async set(uuid: string, away: Away | null): Promise<void> {
    if (away === null) {
      await this.#store.remove(uuid);
      this.#away.delete(uuid);
      this.#unwritten.delete(uuid);
      return;
    }
    this.#away.set(uuid, away);
    try {
      await this.#store.write(uuid, JSON.stringify(away));
    } catch (error) {
      this.#unwritten.set(uuid, away);
      throw error;
    }
    this.#unwritten.delete(uuid);
  }

  /** Retries a write that failed before. */
  async catchUp(uuid: string): Promise<void> {
    const away = this.#unwritten.get(uuid);
    if (away !== undefined) await this.set(uuid, away);
  }
}
