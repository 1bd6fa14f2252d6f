// Schema of the journal's records on disk; checked on reading, since a story may come from another machine.

import * as z from "zod/mini";
import type { JournalRecord } from "../../effects/ports.js";
import { connectionUri, hostName, streamAddress } from "../../protocol/address-schemas.js";
import type { ConvergencePolicy } from "../../protocol/convergence/policy.js";
import { isConvergencePolicy } from "../../protocol/convergence/validate.js";
import type { Failure } from "../../protocol/failure.js";

/** Version of the record format below. Stories of earlier versions, from `oldestVersion` on, are readable too. */
export const version = 4;
export const oldestVersion = 2;

export const header = z.object({ kind: z.literal("journal"), version: z.number() });

export const side = z.enum(["source", "destination", "coordinator"]);
export const failure: z.ZodMiniType<Failure> = z.object({
  code: z.enum([
    "aborted",
    "stalled",
    "deadline",
    "died",
    "refused",
    "unanswered",
    "disk",
    "rejected",
    "qemu",
    "diverges",
  ]),
  step: z.enum(["begin", "prepare", "perform", "finish", "confirm", "settle"]),
  side,
  message: z.string(),
  qemu: z.exactOptional(z.array(z.string())),
});
const guest = z.object({
  uuid: z.string(),
  guestWas: z.enum(["running", "paused"]),
  qemuVersion: z.string(),
  memoryBytes: z.number(),
  capabilities: z.array(z.string()),
  disks: z.array(z.object({ name: z.string(), capacityBytes: z.number() })),
  fencingToken: z.nullable(z.string()),
});
const settings = z.object({
  capabilities: z.record(z.string(), z.boolean()),
  parameters: z.record(z.string(), z.union([z.number(), z.string()])),
});
const prepared = z.object({
  uri: streamAddress,
  host: z.exactOptional(hostName),
  capabilities: z.array(z.string()),
  storage: z.exactOptional(streamAddress),
  settle: z.exactOptional(connectionUri),
  peer: z.exactOptional(
    z.object({
      hostname: z.string(),
      journal: z.exactOptional(z.string()),
      migrationId: z.exactOptional(z.string()),
    }),
  ),
  incomingId: z.exactOptional(z.number()),
});
const limits = z.object({
  bandwidthMiBps: z.number(),
  diskBandwidthMiBps: z.number(),
  maxDowntimeMs: z.number(),
  stallMs: z.number(),
});
const taken = z.object({ rule: z.number(), step: z.number(), pass: z.number(), elapsedMs: z.number() });
const convergence = z.custom<ConvergencePolicy>(isConvergencePolicy);
const report = <Outcome extends string>(outcome: z.ZodMiniType<Outcome>) =>
  z.object({ outcome, failures: z.array(failure), undone: z.array(z.string()) });

const learned = z.object({
  guest: z.exactOptional(z.nullable(guest)),
  settings: z.exactOptional(z.nullable(settings)),
  earlier: z.exactOptional(z.nullable(z.string())),
  prepared: z.exactOptional(z.nullable(prepared)),
  postcopy: z.exactOptional(z.enum(["unannounced", "announced"])),
  memory: z.exactOptional(z.enum(["precopied", "partly", "fetched"])),
  limits: z.exactOptional(limits),
  measures: z.exactOptional(z.array(taken)),
  source: z.exactOptional(z.nullable(report(z.enum(["left", "stayed", "lost", "stuck"])))),
  destination: z.exactOptional(z.nullable(report(z.enum(["arrived", "refused", "lost", "stuck"])))),
});

const identity = z.object({ migrationId: z.string(), uuid: z.string(), name: z.string() });
const deadlines = z.object({
  performRequestedMs: z.number(),
  switchoverMs: z.number(),
  cancelMs: z.number(),
  confirmMs: z.number(),
  listenMs: z.number(),
  receiveMs: z.number(),
  finishMs: z.number(),
  completeMs: z.number(),
  reconnectMs: z.number(),
  backoffMs: z.number(),
  maxBackoffMs: z.number(),
});
const policy = z.object({ whenUnreachable: z.enum(["wait", "fence", "resume"]), patienceMs: z.number() });

const opened = { kind: z.literal("opened"), migrationId: z.string(), atMs: z.number(), host: z.unknown() };
const common = { migrationId: z.string(), side, atMs: z.number() };

const record = z.union([
  z.object({
    kind: z.literal("state"),
    ...common,
    state: z.string(),
    event: z.string(),
    because: z.array(failure),
    undone: z.array(z.string()),
    learned,
  }),
  z.object({
    kind: z.literal("aside"),
    ...common,
    aside: z.discriminatedUnion("type", [
      z.object({ type: z.literal("kept"), event: z.string(), why: z.string() }),
      z.object({ type: z.literal("refused"), event: z.string(), why: z.string() }),
      z.object({ type: z.literal("tuned"), bandwidthMiBps: z.number(), maxDowntimeMs: z.number() }),
      z.object({ type: z.literal("measure"), rule: z.number(), does: z.string(), why: z.string() }),
      z.object({ type: z.literal("forecast"), says: z.string() }),
    ]),
  }),
  z.object({
    kind: z.literal("tombstone"),
    ...common,
    side: z.literal("destination"),
    decision: z.exactOptional(z.enum(["taken", "refused"])),
    uuid: z.exactOptional(z.string()),
  }),
  z.object({
    ...opened,
    side: z.literal("source"),
    input: z.object({ identity, deadlines, limits, policy, convergence: z.optional(convergence) }),
  }),
  z.object({
    ...opened,
    side: z.literal("destination"),
    input: z.object({ identity, deadlines, guest }),
  }),
  z.object({ ...opened, side: z.literal("coordinator"), input: z.object({ identity, deadlines }) }),
]);

/** Returns the record, or why the entry is not a record. */
export function parseRecord(entry: unknown): JournalRecord | { readonly wrong: string } {
  const parsed = record.safeParse(entry);
  return parsed.success ? parsed.data : { wrong: z.prettifyError(parsed.error) };
}
