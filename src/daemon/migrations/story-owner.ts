// Determines which stories of a restarted host still own their guests. A guest belongs to the migration that its record on
// disk names: a story that an operator has given up must not affect the guest that has returned since (G1).

import * as z from "zod/mini";
import { summaryOf } from "../../drivers/journal/summary.js";
import type { OpenStory } from "../../drivers/journal/types.js";
import { handle } from "../../drivers/qemu/process/handle-file.js";
import { hasTag, isFinal } from "../../machines/shared/states.js";
import { isGoneOnWith } from "../../protocol/host-evidence.js";
import type { Identity } from "../../protocol/messages.js";
import type { Side } from "../../protocol/steps.js";
import type { Presence } from "../domains/records.js";
import type { Host } from "../host.js";

/** The QEMU of a story: the source's, or the one in the directory that the destination created. */
const whereabouts = z.object({
  qemu: z.exactOptional(handle),
  directory: z.exactOptional(z.string()),
});

/** Returns the guest of a story, under its name on this host. */
export function identityIn({ records }: OpenStory): Identity | undefined {
  const opened = records.find((record) => record.kind === "opened" && record.side !== "coordinator");
  return opened?.kind === "opened" ? opened.input.identity : undefined;
}

export const newestFirst = (stories: readonly OpenStory[]): OpenStory[] =>
  stories.toSorted((one, other) => begunMs(other) - begunMs(one));
const begunMs = ({ records }: OpenStory): number => records[0]?.atMs ?? 0;

/** `isDoubted`: another story of the guest is newer, or cannot be read. */
export async function ownsItsGuest(
  { domains }: Host,
  story: OpenStory,
  isDoubted: boolean,
): Promise<boolean> {
  const identity = identityIn(story);
  if (identity === undefined) return true;
  // An unreadable record is not evidence against the story.
  const record = await domains.presenceOf(identity.uuid).catch(() => undefined);
  return isGoneOnWith({
    migrationId: story.migrationId,
    recorded: record === undefined ? undefined : (record.incoming ?? record.departing),
    isDoubted,
    isItsQemu: record !== undefined && isQemuOf(story, record),
  });
}

function isQemuOf({ records }: OpenStory, record: Presence): boolean {
  return records.some((opened) => {
    if (opened.kind !== "opened") return false;
    const { success, data } = whereabouts.safeParse(opened.host);
    if (!success) return false;
    if (data.qemu === undefined) return data.directory !== undefined && data.directory === record.directory;
    const { pid, startTicks } = data.qemu;
    return record.handle?.pid === pid && record.handle.startTicks === startTicks;
  });
}

/**
 * Ends a story that no longer owns its guest. Its decision as a destination stays valid. A story in which neither side has a
 * state has not begun, and is removed: it has changed and decided nothing.
 */
export async function endDisowned({ journal, clock, warn }: Host, story: OpenStory): Promise<void> {
  const { migrationId } = story;
  const { states } = summaryOf(migrationId, story.records);
  if (states.source === undefined && states.destination === undefined) {
    warn(`removed ${story.path}: the migration had not begun, and its guest is not reserved for it`);
    return journal.forget(migrationId);
  }
  const end = { source: "lost", destination: endOfDestination(story), coordinator: "ended" };
  const message = "the guest was given up or migrated again before this migration had ended";
  for (const side of ["source", "destination", "coordinator"] as const satisfies Side[]) {
    const state = states[side];
    // A stuck side no longer requires an operator, because the operator has given its guest up.
    if (state === undefined || (isFinal(side, state) && !hasTag(side, state, "needsOperator"))) continue;
    await journal.append({
      kind: "state",
      event: "host.examined",
      undone: [],
      learned: {},
      migrationId,
      side,
      atMs: clock.now(),
      state: end[side],
      because: [{ code: "died", step: "settle", side, message }],
    });
  }
  warn(`${story.path} is not resumed: ${message}`);
}

/** After the decision to take it the guest may have run here, so the source's copy must not run (G3). */
function endOfDestination({ migrationId, records }: OpenStory): "lost" | "refused" {
  const { decision } = summaryOf(migrationId, records);
  if (decision !== null) return decision === "taken" ? "lost" : "refused";
  const last = records.findLast(
    (record) =>
      record.kind === "state" && record.side === "destination" && !isFinal(record.side, record.state),
  );
  return last?.kind === "state" && hasTag("destination", last.state, "decided") ? "lost" : "refused";
}
