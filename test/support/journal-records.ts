// Records of invented migrations for tests of the journal.

import { crc32 } from "node:zlib";
import type { JournalRecord, StateRecord } from "../../src/effects/ports.js";
import { defaultLimits } from "../../src/protocol/convergence/limits.js";
import { defaultDeadlines } from "../../src/protocol/deadlines.js";
import type { Side } from "../../src/protocol/steps.js";
import { defaultPolicy } from "../../src/protocol/unreachable-policy.js";

export const uuid = "8a2b6c1e-0f4d-4c55-9d0a-2f1e7c9b3a10";
const identity = (migrationId: string) => ({ migrationId, uuid, name: "web-1" });

export const sourceOpened = (migrationId: string): JournalRecord => ({
  kind: "opened",
  migrationId,
  atMs: 1,
  host: null,
  side: "source",
  input: {
    identity: identity(migrationId),
    limits: defaultLimits,
    deadlines: defaultDeadlines,
    policy: defaultPolicy,
  },
});

export const destinationOpened = (migrationId: string): JournalRecord => ({
  kind: "opened",
  migrationId,
  atMs: 1,
  host: null,
  side: "destination",
  input: {
    identity: identity(migrationId),
    deadlines: defaultDeadlines,
    guest: {
      uuid,
      guestWas: "running",
      qemuVersion: "",
      memoryBytes: 1,
      capabilities: [],
      disks: [],
      fencingToken: null,
    },
  },
});

export const stateOf = (
  migrationId: string,
  side: Side,
  state: string,
  more: Partial<StateRecord> = {},
): JournalRecord => ({
  kind: "state",
  migrationId,
  side,
  atMs: 1,
  state,
  event: "test",
  because: [],
  undone: [],
  learned: {},
  ...more,
});

/** Formats a record as the journal does. */
export function lineWith(text: string): string {
  return `${crc32(text).toString(16).padStart(8, "0")} ${text}\n`;
}
