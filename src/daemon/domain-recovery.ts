// What a restarted host holds of its guests: each is attached again, proven gone, or quarantined with the reason, before
// the host answers any question about it. Upholds G1 and G3: what cannot be read counts neither as running nor as gone.

import { type Domain, parseDomain } from "../drivers/domain/domain.js";
import { endProcess } from "../drivers/qemu/answers.js";
import { handleIn } from "../drivers/qemu/handle-file.js";
import { isAlive } from "../drivers/qemu/proc.js";
import { QemuGoneError, type QemuHandle, QemuProcess } from "../drivers/qemu/process.js";
import { pause } from "../effects/pause.js";
import { asRunningGuest } from "../guests.js";
import type { Found } from "../machines/domain/machine.js";
import { messageOf } from "../protocol/answer.js";
import { type Presence, readPresence } from "./domain-records.js";
import type { Host } from "./host.js";
import type { ManagedDomain } from "./managed-domain.js";

const nothing = { left: "nothing" } as const;
const unknown = (why: string): Found => ({ left: "unknown", why });
const attachAgainMs = 5_000;

/** Stories that were taken up, by their guest; and those that cannot be read, by migration, with the reason. */
export interface RecoveredStories {
  readonly uuids: ReadonlySet<string>;
  readonly unreadable: ReadonlyMap<string, Unreadable>;
}

export interface Unreadable {
  readonly why: string;
  readonly uuid?: string | undefined;
  readonly name?: string | undefined;
}

/** Examines every guest that is recorded on disk, at the same time. */
export async function examineAll(host: Host, stories: RecoveredStories): Promise<void> {
  const { domains } = host;
  const recorded = await domains.records.presences.readAll();
  for (const uuid of recorded.keys()) domains.noteRecorded(uuid);
  await Promise.all(
    [...recorded]
      .filter(([uuid]) => !stories.uuids.has(uuid))
      .map(([uuid, text]) => examine(host, uuid, text, stories)),
  );
  // A story that cannot be read, of a guest that no record names.
  for (const [migrationId, { why, uuid, name }] of stories.unreadable) {
    if (uuid === undefined || recorded.has(uuid)) continue;
    settle(host, domains.entryFor({ uuid, name: name ?? uuid }), unreadableStory(migrationId, why));
  }
  domains.examined();
}

const unreadableStory = (migrationId: string, why: string): Found =>
  unknown(
    `the journal of the migration ${migrationId} cannot be read (${why}), so it is not known who runs the guest`,
  );

function settle({ complain }: Host, entry: ManagedDomain, found: Found): void {
  entry.authority.send({ type: "host.examined", found });
  if (found.left === "unknown") complain(`${entry.name} is quarantined: ${found.why}`);
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
    settle(host, domains.entryFor({ uuid, name }), unknown(`its record cannot be read: ${messageOf(error)}`));
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
  if (migrationId === null) return attached(host, entry, domain, presence);
  const damage = unreadable.get(migrationId);
  // A host that has lost its journal has forgotten what it decided.
  const isForgotten = presence.journal !== null && presence.journal !== journal.identity;
  const lost = unknown(
    `this host's journal is not the one in which the migration ${migrationId} was recorded, so it is not known who runs the guest`,
  );
  if (damage !== undefined) {
    await attached(host, entry, domain, presence, { decides: false });
    return unreadableStory(migrationId, damage.why);
  }
  if (incoming !== null) {
    const decision = await journal.decisionOf(incoming);
    if (decision === "taken") {
      if (presence.persistent !== null) await domains.define(parseDomain(presence.persistent));
      return attached(host, entry, domain, presence);
    }
    if (decision === "refused" || !isForgotten) return ended(host, domain, presence);
    // A QEMU that runs its guest has been told to: the guest was taken.
    const found = await attached(host, entry, domain, presence, { decides: false });
    if (found.left !== "running") return lost;
    const atMs = host.clock.now();
    await journal.append({
      kind: "tombstone",
      migrationId: incoming,
      side: "destination",
      atMs,
      decision: "taken",
    });
    return found;
  }
  const end = await journal.endOfSource(migrationId);
  if (end === null && isForgotten) {
    await attached(host, entry, domain, presence, { decides: false });
    return lost;
  }
  if (end?.state !== "left") return attached(host, entry, domain, presence);
  await ended(host, domain, presence);
  if (entry.definition === null) return nothing;
  if (leaving !== null) {
    await domains.undefine(entry);
    return nothing;
  }
  if (entry.away === null) {
    const away = { migrationId, hostname: "", uri: null, sinceMs: host.clock.now() };
    await domains.setAway(entry.uuid, away);
  }
  return { left: "away" };
}

const handleOf = async ({ handle, directory }: Presence): Promise<QemuHandle | undefined> =>
  handle ?? (directory === null ? undefined : await handleIn(directory));

/** The guest has been given up for good: a QEMU of it that is left is ended. */
async function ended({ clock, domains }: Host, { name }: Domain, presence: Presence): Promise<Found> {
  const handle = await handleOf(presence);
  if (handle === undefined || !isAlive(handle)) return nothing;
  const answer = await endProcess(QemuProcess.mute(handle, { clock, log: domains.logOf(name) }));
  return answer.kind === "done" ? nothing : unknown(answer.cause.message);
}

/** Attaches the QEMU of a guest. `decides`: whether its answer is enough to know who runs the guest, also a late one. */
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
  return unknown(`its QEMU (pid ${handle.pid}) does not answer`);
}

/** A QEMU that was mute may answer again, or end: then it is known what becomes of its guest. */
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
    await pause(clock, attachAgainMs);
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
