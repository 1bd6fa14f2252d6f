// Allows one migration per guest at a time in this process, and remembers which guests have moved. A guest is identified by its
// uuid and its QEMU, because two guests may share a name. Upholds G1: a second migration would cancel the first one's commands.

import type { Outcome } from "../migration-handle.js";
import type { RunningGuest } from "./running-guest.js";

/** The guest cannot be migrated by this handle now; nothing has been changed. */
export class GuestUnavailableError extends Error {
  override readonly name = "GuestUnavailableError";
  /** `moved`: this handle's QEMU has exited, and the guest runs in another one. */
  readonly reason: "migrating" | "moved";
  /** The migration that is under way, or that moved the guest. */
  readonly migrationId: string;

  constructor(reason: "migrating" | "moved", migrationId: string, message: string) {
    super(message);
    this.reason = reason;
    this.migrationId = migrationId;
  }
}

type Standing =
  | { readonly is: "migrating"; readonly migrationId: string }
  | { readonly is: "moved"; readonly migrationId: string; readonly pid: number | null };

const standings = new Map<string, Standing>();
/** Number of moved guests that are remembered, newest first. Their handles should no longer be in use. */
const rememberedMax = 1_000;

const keyOf = ({ spec, process: { handle } }: RunningGuest): string =>
  `${spec.uuid} ${handle.pid} ${handle.startTicks}`;

/** @throws GuestUnavailableError */
export function checkAvailable(guest: RunningGuest): void {
  const standing = standings.get(keyOf(guest));
  if (standing === undefined) return;
  const { is, migrationId } = standing;
  const { name, uuid } = guest.spec;
  const which = `the guest ${name} (${uuid})`;
  if (is === "migrating")
    throw new GuestUnavailableError(
      is,
      migrationId,
      `${which} in QEMU ${guest.process.pid} is already being migrated by migration ${migrationId}; wait for its outcome, or abort it`,
    );
  const where = standing.pid === null ? "another QEMU" : `QEMU ${standing.pid}`;
  throw new GuestUnavailableError(
    is,
    migrationId,
    `${which} has moved to ${where} by migration ${migrationId}; use the guest of that migration's outcome`,
  );
}

/** Reserves the guest for the migration until that has ended; resolves to its outcome. `sourceEnded` must not reject. */
export async function holding(
  guest: RunningGuest,
  migrationId: string,
  outcome: Promise<Outcome>,
  sourceEnded: Promise<unknown>,
): Promise<Outcome> {
  const key = keyOf(guest);
  standings.set(key, { is: "migrating", migrationId });
  const release = () => {
    const standing = standings.get(key);
    if (standing?.is === "migrating" && standing.migrationId === migrationId) standings.delete(key);
  };
  // An undecided source still has to decide what happens to its QEMU.
  void sourceEnded.then(release);
  const ended = await outcome;
  if (ended.kind === "arrived")
    remember(key, { is: "moved", migrationId, pid: ended.guest?.process.pid ?? null });
  else if (ended.kind !== "undecided") release();
  return ended;
}

function remember(key: string, standing: Standing): void {
  standings.set(key, standing);
  const moved = [...standings].filter(([, { is }]) => is === "moved");
  for (const [oldest] of moved.slice(0, Math.max(0, moved.length - rememberedMax))) standings.delete(oldest);
}
