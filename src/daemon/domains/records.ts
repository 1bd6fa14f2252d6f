// What a host keeps of its domains on disk: definitions, the record of each guest that is here, autostart marks, and where
// guests have gone whose definitions stayed. A record is durable before the effect that it announces (G1, G3).

import { join } from "node:path";
import * as z from "zod/mini";
import { FileStore } from "../../drivers/platform/file-store.js";
import { handle } from "../../drivers/qemu/process/handle-file.js";

const presence = z.object({
  xml: z.string(),
  /** The migration by which it arrives; it is the guest only when that has arrived. */
  incoming: z.nullable(z.string()),
  /** The migration by which it departs. Without that migration's story nobody can say who runs the guest. */
  departing: z._default(z.nullable(z.string()), null),
  /** Of the pair of hosts in that migration; null between migrations, and when the peer has none. */
  secret: z._default(z.nullable(z.string()), null),
  /** The identity of the destination's journal, in the record of a guest that departs. */
  peerJournal: z._default(z.nullable(z.string()), null),
  /** QEMU was started for the guest that arrives, or may have been told to send the one that departs: there is a story. */
  begun: z._default(z.boolean(), false),
  /** The identity of this host's journal when the record was written; null in records of older versions. */
  journal: z._default(z.nullable(z.string()), null),
  /** The definition to keep when it has arrived. */
  persistent: z._default(z.nullable(z.string()), null),
  /** The migration with which its definition is removed. */
  leaving: z._default(z.nullable(z.string()), null),
  handle: z.nullable(handle),
  directory: z.nullable(z.string()),
  /** Lost in post-copy: what is left runs until it needs memory that never came. */
  broken: z._default(z.boolean(), false),
});
/** A guest that is on this host, is coming up, or is on its way in or out. */
export type Presence = z.infer<typeof presence>;

/** @throws Error when it is damaged. */
export const readPresence = (text: string): Presence => presence.parse(JSON.parse(text));

const awayRecord = z.object({
  migrationId: z.string(),
  /** The name of the host that has the guest. */
  hostname: z.string(),
  /** Where that host can be asked; null for one that cannot, such as a libvirtd that a client led the guest to. */
  uri: z.nullable(z.string()),
  /** Milliseconds since 1970. */
  sinceMs: z.number(),
  /** Of the pair of hosts, at the destination of an offline migration: with it the source says that it gives the guest up. */
  secret: z.optional(z.string()),
  /** This host gave the guest up in an offline migration: the other host may start it, and asks when it has not been told. */
  given: z.optional(z.boolean()),
});
/** Which other host has a guest, by a migration, while this one defines it. */
export type Away = z.infer<typeof awayRecord>;

/** What the command shows of a domain that cannot simply be started. */
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

/** @throws Error when it is damaged. */
export const readAway = (text: string): Away => awayRecord.parse(JSON.parse(text));
