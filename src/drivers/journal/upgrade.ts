// Brings an entry of an older story to the form of today's records. The file stays as it is: a story is upgraded as it is read.

import { defaultDeadlines } from "../../protocol/deadlines.js";

/** Entries that are not records of the older version come back as they are, and are rejected as they are parsed. */
export function upgraded(entry: unknown, version: number): unknown {
  return version === 2 ? fromVersion2(entry) : entry;
}

/** Version 3 added copied disks, and the deadline for a lost connection in post-copy. */
function fromVersion2(entry: unknown): unknown {
  if (!isObject(entry)) return entry;
  const inside = entry["kind"] === "opened" ? "input" : entry["kind"] === "state" ? "learned" : null;
  const held = inside === null ? undefined : entry[inside];
  if (inside === null || !isObject(held)) return entry;
  const { guest, limits, deadlines } = held;
  const added: Record<string, unknown> = {};
  if (isObject(guest)) added["guest"] = { disks: [], ...guest };
  if (isObject(limits)) added["limits"] = { diskBandwidthMiBps: limits["bandwidthMiBps"], ...limits };
  if (isObject(deadlines)) added["deadlines"] = { reconnectMs: defaultDeadlines.reconnectMs, ...deadlines };
  return { ...entry, [inside]: { ...held, ...added } };
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null;
