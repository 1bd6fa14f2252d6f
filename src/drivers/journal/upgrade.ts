// Converts entries of older stories to the current record format as they are read. The file itself is not changed.

import * as z from "zod/mini";
import { defaultDeadlines } from "../../protocol/deadlines.js";
import { currentDeadlines, currentEvent, currentState } from "./older-names.js";
import { side } from "./records.js";

/** Returns entries that are not records of the older version unchanged; the parser rejects them. */
export function upgraded(entry: unknown, version: number): unknown {
  const withMembers = version < 3 ? fromVersion2(entry) : entry;
  return version < 4 ? withCurrentNames(withMembers) : withMembers;
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

const named = z.looseObject({
  side,
  state: z.optional(z.string()),
  event: z.optional(z.string()),
  aside: z.optional(z.looseObject({ event: z.optional(z.string()) })),
  input: z.optional(z.looseObject({ deadlines: z.optional(z.record(z.string(), z.unknown())) })),
});

/** Version 4 renamed states, events, effects and deadlines. */
function withCurrentNames(entry: unknown): unknown {
  const read = named.safeParse(entry);
  if (!read.success) return entry;
  const { side: at, state, event, aside, input } = read.data;
  return {
    ...read.data,
    ...(state !== undefined && { state: currentState(at, state) }),
    ...(event !== undefined && { event: currentEvent(at, event) }),
    ...(aside?.event !== undefined && { aside: { ...aside, event: currentEvent(at, aside.event) } }),
    ...(input?.deadlines && { input: { ...input, deadlines: currentDeadlines(input.deadlines) } }),
  };
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null;
