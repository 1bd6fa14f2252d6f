// Examines the guests of a restarted host: each is re-attached, proven gone, or quarantined with the reason, before the host
// answers any request about it. Upholds G1 and G3: a record that cannot be read counts neither as running nor as gone.

import { type Domain, parseDomain } from "../../drivers/domain-xml/domain.js";
import { isAlive } from "../../drivers/platform/procfs.js";
import { endProcess } from "../../drivers/qemu/process/end-process.js";
import { handleIn } from "../../drivers/qemu/process/handle-file.js";
import { QemuGoneError, QemuProcess } from "../../drivers/qemu/process/process.js";
import type { QemuHandle } from "../../drivers/qemu/process/spec.js";
import { sleep } from "../../effects/sleep.js";
import { asRunningGuest } from "../../library/local/running-guest.js";
import type { Found } from "../../machines/domain/machine.js";
import { messageOf } from "../../protocol/effect-result.js";
import { atRestart } from "../../protocol/host-evidence.js";
import type { Host } from "../host.js";
import type { ManagedDomain } from "./managed-domain.js";
import { type Presence, readPresence } from "./records.js";

const nothing = { left: "nothing" } as const;
const unknown = (why: string): Found => ({ left: "unknown", why });
/** The same for an unresolved migration: another host may run the guest. */
const unresolved = (why: string): Found => ({ left: "unknown", why, elsewhere: true });
const attachAgainMs = 5_000;

/** The guests whose stories were resumed, and the unreadable stories by migration id. */
export interface RecoveredStories {
  readonly uuids: ReadonlySet<string>;
  readonly unreadable: ReadonlyMap<string, Unreadable>;
}

export interface Unreadable {
  readonly why: string;
  readonly uuid?: string | undefined;
  readonly name?: string | undefined;
}

/** Examines all guests that are recorded on disk, concurrently. */
export async function examineAll(host: Host, stories: RecoveredStories): Promise<void> {
  const { domains } = host;
  const recorded = await domains.records.presences.readAll();
  for (const uuid of recorded.keys()) domains.noteRecorded(uuid);
  await Promise.all(
    [...recorded]
      .filter(([uuid]) => !stories.uuids.has(uuid))
      .map(([uuid, text]) => examine(host, uuid, text, stories)),
  );
  // Unreadable stories of guests that have no record.
  for (const [migrationId, { why, uuid, name }] of stories.unreadable) {
    if (uuid === undefined || recorded.has(uuid)) continue;
    const found = unresolved(unreadableStory(migrationId, why));
    settle(host, domains.entryFor({ uuid, name: name ?? uuid }), found);
  }
  domains.examined();
}

const unreadableStory = (migrationId: string | null, why: string): string =>
  `the journal of migration ${migrationId} cannot be read (${why}), so it is not known who runs the guest`;
const forgotten = (migrationId: string | null): string =>
  `this host's journal of migration ${migrationId} is lost, so it is not known who runs the guest`;

function settle({ warn }: Host, entry: ManagedDomain, found: Found): void {
  entry.authority.send({ type: "host.examined", found });
  if (found.left === "unknown") warn(`${entry.name} is quarantined: ${found.why}`);
}

async function examine(host: Host, uuid: string, text: string, stories: RecoveredStories): Promise<void> {
  const { domains } = host;
  let presence: Presence;
  let domain: Domain;
  try {
    presence = readPresence(text);
    domain = parseDomain(presence.xml);
  } catch (error) {
    const name = domains.nameOf(uuid) ?? uuid;
    settle(
      host,
      domains.entryFor({ uuid, name }),
      unresolved(`the guest's record cannot be read: ${messageOf(error)}`),
    );
    return;
  }
  const entry = domains.entryFor(domain);
  try {
    settle(host, entry, await foundBy(host, entry, domain, presence, stories));
  } catch (error) {
    settle(host, entry, unknown(messageOf(error)));
  }
}

async function foundBy(
  host: Host,
  entry: ManagedDomain,
  domain: Domain,
  presence: Presence,
  { unreadable }: RecoveredStories,
): Promise<Found> {
  const { journal, domains } = host;
  const { incoming, departing, leaving } = presence;
  const migrationId = incoming ?? departing;
  const way = incoming !== null ? "in" : departing !== null ? "out" : "none";
  const damage = migrationId === null ? undefined : unreadable.get(migrationId);
  const isReadable = migrationId !== null && damage === undefined;
  const decided = isReadable && way === "in" ? await journal.decisionOf(migrationId) : null;
  const end = isReadable && way === "out" ? await journal.endOfSource(migrationId) : null;
  const does = atRestart({
    way,
    isUnreadable: damage !== undefined,
    // A host that has lost its journal has lost its decisions.
    isForgotten: presence.journal !== null && presence.journal !== journal.identity,
    isBegun: presence.begun,
    decided,
    sourceEnd: end?.state ?? null,
  });
  switch (does) {
    case "attach":
      if (way === "in" && presence.persistent !== null)
        await domains.define(parseDomain(presence.persistent));
      return attached(host, entry, domain, presence);
    case "end":
      return ended(host, domain, presence);
    case "endAway": {
      const found = await ended(host, domain, presence);
      return found.left === "nothing" ? leftBehind(host, entry, migrationId ?? "", leaving !== null) : found;
    }
    case "quarantine":
      await attached(host, entry, domain, presence, { decides: false });
      return unresolved(
        damage === undefined ? forgotten(migrationId) : unreadableStory(migrationId, damage.why),
      );
    case "takenIfRunning": {
      const found = await attached(host, entry, domain, presence, { decides: false });
      if (migrationId === null || found.left !== "running") return unresolved(forgotten(migrationId));
      const atMs = host.clock.now();
      const taken = { side: "destination", decision: "taken" } as const;
      await journal.append({ kind: "tombstone", migrationId, atMs, ...taken });
      if (presence.persistent !== null) await domains.define(parseDomain(presence.persistent));
      return found;
    }
  }
}

/** Records that the guest has left this host, which may still define it. */
async function leftBehind(
  { domains, clock }: Host,
  entry: ManagedDomain,
  migrationId: string,
  isUndefined: boolean,
): Promise<Found> {
  if (entry.definition === null) return nothing;
  if (isUndefined) {
    await domains.undefine(entry);
    return nothing;
  }
  if (entry.away === null)
    await domains.setAway(entry.uuid, { migrationId, hostname: "", uri: null, sinceMs: clock.now() });
  return { left: "away" };
}

const handleOf = async ({ handle, directory }: Presence): Promise<QemuHandle | undefined> =>
  handle ?? (directory === null ? undefined : await handleIn(directory));

/** Ends a remaining QEMU of a guest that this host has given up for good. */
async function ended({ clock, domains }: Host, { name }: Domain, presence: Presence): Promise<Found> {
  const handle = await handleOf(presence);
  if (handle === undefined || !isAlive(handle)) return nothing;
  const answer = await endProcess(QemuProcess.mute(handle, { clock, log: domains.logOf(name) }));
  return answer.kind === "done" ? nothing : unknown(answer.cause.message);
}

/** Attaches a guest's QEMU. `decides`: its answer, even a late one, is sufficient to determine who runs the guest. */
async function attached(
  host: Host,
  entry: ManagedDomain,
  domain: Domain,
  presence: Presence,
  { decides }: { readonly decides: boolean } = { decides: true },
): Promise<Found> {
  const { domains, clock } = host;
  const handle = await handleOf(presence);
  if (handle === undefined) return nothing;
  const { spec } = await domains.build(domain);
  const options = { clock, log: domains.logOf(domain.name) };
  let isMute = false;
  let qemu: QemuProcess;
  try {
    qemu = await QemuProcess.attach(handle, options);
  } catch (error) {
    if (error instanceof QemuGoneError) {
      domains.noteGone(entry, error.why);
      return nothing;
    }
    if (!isAlive(handle)) throw error;
    isMute = true;
    qemu = QemuProcess.mute(handle, options);
  }
  await domains.enter(domain, asRunningGuest(spec, qemu), presence);
  if (presence.broken) return { left: "broken" };
  if (!isMute) return domains.foundOf(entry);
  if (decides) void attachAgain(host, entry, domain, presence, handle);
  return unknown(`the guest's QEMU (pid ${handle.pid}) does not answer`);
}

/** Retries a QEMU that does not answer until it answers or exits; either settles the state of its guest. */
async function attachAgain(
  host: Host,
  entry: ManagedDomain,
  domain: Domain,
  presence: Presence,
  handle: QemuHandle,
): Promise<void> {
  const { domains, clock } = host;
  const options = { clock, log: domains.logOf(domain.name) };
  const isWaiting = () => !domains.isStopped && entry.authority.getSnapshot().hasTag("quarantined");
  for (;;) {
    await sleep(clock, attachAgainMs);
    if (!isWaiting()) return;
    try {
      const qemu = await QemuProcess.attach(handle, options);
      if (!isWaiting()) return qemu.release();
      const { spec } = await domains.build(domain);
      entry.live?.guest.release();
      await domains.enter(domain, asRunningGuest(spec, qemu), presence);
      return settle(host, entry, await domains.foundOf(entry));
    } catch (error) {
      if (error instanceof QemuGoneError) return settle(host, entry, nothing);
    }
  }
}
