// One migration of a guest at a time in this process, and what became of a guest that has moved. A guest is its uuid and its
// QEMU: two guests may have one name. Upholds G1: a second migration would cancel what the first one does with the QEMU.

import type { Outcome } from "../migration-handle.js";
import type { RunningGuest } from "./running-guest.js";

/** A guest that cannot be migrated by this handle now; nothing has been touched. */
export class GuestUnavailableError extends Error {
  override readonly name = "GuestUnavailableError";
  /** `moved`: this handle's QEMU has ended, and the guest runs in another one. */
  readonly reason: "migrating" | "moved";
  /** Of the migration that is under way, or that has moved the guest. */
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
/** Of those that have moved the newest are remembered: each is a handle that should be gone. */
const rememberedMax = 1_000;

const keyOf = ({ spec, process: { handle } }: RunningGuest): string =>
  `${spec.uuid} ${handle.pid} ${handle.startTicks}`;

/** @throws GuestUnavailableError */
export function checkAvailable(guest: RunningGuest): void {
  const standing = standings.get(keyOf(guest));
  if (standing === undefined) return;
  const { is, migrationId } = standing;
  const { name, uuid } = guest.spec;
  const of = `the guest ${name} (${uuid})`;
  if (is === "migrating")
    throw new GuestUnavailableError(
      is,
      migrationId,
      `${of} in QEMU ${guest.process.pid} is being migrated already, by the migration ${migrationId}; wait for its outcome, or abort it`,
    );
  const where = standing.pid === null ? "another QEMU" : `QEMU ${standing.pid}`;
  throw new GuestUnavailableError(
    is,
    migrationId,
    `${of} has moved to ${where} by the migration ${migrationId}; use the guest of that migration's outcome`,
  );
}

/** Holds the guest for that migration until it has ended; resolves to its outcome. `sourceEnded` never rejects. */
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
  // A source that does not know yet who runs the guest still waits to decide what becomes of its QEMU.
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
