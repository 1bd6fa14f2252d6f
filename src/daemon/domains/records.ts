// The records of a host's domains on disk: definitions, the presence of each guest, autostart marks, and the location of
// guests that were migrated away while their definition stayed. A record is durable before the effect that it announces
// (G1, G3).

import { join } from "node:path";
import * as z from "zod/mini";
import { FileStore } from "../../drivers/platform/file-store.js";
import { handle } from "../../drivers/qemu/process/handle-file.js";

const presence = z.object({
  xml: z.string(),
  /** The migration by which the guest arrives; this copy is the guest only when that migration has arrived. */
  incoming: z.nullable(z.string()),
  /** The migration by which the guest departs. Without that migration's story this host cannot determine who runs the guest. */
  departing: z._default(z.nullable(z.string()), null),
  /** The secret shared by the two hosts of that migration; null between migrations, and when the peer has none. */
  secret: z._default(z.nullable(z.string()), null),
  /** The identity of the destination's journal, for a departing guest. */
  peerJournal: z._default(z.nullable(z.string()), null),
  /** True when a QEMU was started for the arriving guest, or may have been commanded to send the departing one: a story exists. */
  begun: z._default(z.boolean(), false),
  /** The identity of this host's journal when the record was written; null in records of older versions. */
  journal: z._default(z.nullable(z.string()), null),
  /** The definition to store when the guest has arrived. */
  persistent: z._default(z.nullable(z.string()), null),
  /** The migration at whose end the definition is removed. */
  leaving: z._default(z.nullable(z.string()), null),
  handle: z.nullable(handle),
  directory: z.nullable(z.string()),
  /** True when post-copy failed: the guest runs only until it needs memory that never arrived. */
  broken: z._default(z.boolean(), false),
});
/** A guest that is on this host, is starting, is arriving or is departing. */
export type Presence = z.infer<typeof presence>;

/** @throws Error when the record is damaged. */
export const readPresence = (text: string): Presence => presence.parse(JSON.parse(text));

const awayRecord = z.object({
  migrationId: z.string(),
  /** The name of the host that has the guest. */
  hostname: z.string(),
  /** The URI of that host; null when it cannot be contacted, such as a libvirtd to which a client migrated the guest. */
  uri: z.nullable(z.string()),
  /** Milliseconds since 1970. */
  sinceMs: z.number(),
  /** At the destination of an offline migration: the secret by which the source proves that it gives the guest up. */
  secret: z.optional(z.string()),
  /** True when this host gave the guest up in an offline migration. The other host may start it, and asks if it was not informed. */
  given: z.optional(z.boolean()),
});
/** The location of a guest that is defined on this host and was migrated to another. */
export type Away = z.infer<typeof awayRecord>;

/** A domain that this host refuses to start, as `switchover standing` shows it. */
export const standing = z.object({
  name: z.string(),
  uuid: z.string(),
  quarantined: z.nullable(z.string()),
  away: z.nullable(z.omit(awayRecord, { secret: true })),
});
export type Standing = z.infer<typeof standing>;

export interface DomainRecords {
  readonly definitions: FileStore;
  readonly presences: FileStore;
  readonly autostarts: FileStore;
  readonly away: FileStore;
}

export const openDomainRecords = async (stateDirectory: string): Promise<DomainRecords> => ({
  definitions: await FileStore.open(join(stateDirectory, "domains"), ".xml"),
  presences: await FileStore.open(join(stateDirectory, "running"), ".json"),
  autostarts: await FileStore.open(join(stateDirectory, "autostart"), ".uuid"),
  away: await FileStore.open(join(stateDirectory, "away"), ".json"),
});

/** @throws Error when the record is damaged. */
export const readAway = (text: string): Away => awayRecord.parse(JSON.parse(text));
