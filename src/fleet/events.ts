// The stored format of a drain's events, which is validated on reading.

import * as z from "zod/mini";
import { areParameters, flagNames, type MigrateParameters } from "../drivers/libvirt/client/flags.js";
import type { DrainEvent } from "./drain.js";

const host = z.object({
  name: z.string(),
  memoryBytes: z.number(),
  cpus: z.number(),
  labels: z.record(z.string(), z.string()),
});
const guest = z.object({
  uuid: z.string(),
  name: z.string(),
  host: z.string(),
  memoryBytes: z.number(),
  cpus: z.number(),
  group: z.nullable(z.string()),
  priority: z.number(),
});
const limits = z.object({
  perSource: z.number(),
  perDestination: z.number(),
  perLink: z.number(),
  total: z.number(),
});
const atMs = z.number();
const event: z.ZodMiniType<DrainEvent> = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("begun"),
    atMs,
    wish: z.object({
      sources: z.array(z.string()),
      limits,
      attempts: z.number(),
      deadlineMs: z.nullable(z.number()),
      how: z.exactOptional(
        z.object({
          flags: z.array(z.enum(flagNames)),
          parameters: z.custom<MigrateParameters>(areParameters),
        }),
      ),
    }),
    fleet: z.object({ hosts: z.array(host), guests: z.array(guest) }),
  }),
  z.object({
    kind: z.literal("planned"),
    atMs,
    move: z.object({
      token: z.number(),
      migrationId: z.string(),
      guest: z.string(),
      from: z.string(),
      to: z.string(),
    }),
  }),
  z.object({
    kind: z.literal("ended"),
    atMs,
    token: z.number(),
    end: z.enum(["arrived", "stayed", "lost", "away"]),
    why: z.string(),
  }),
  z.object({ kind: z.enum(["paused", "resumed", "cancelled", "closed"]), atMs }),
]);

export const isDrainEvent = (value: unknown): value is DrainEvent => event.safeParse(value).success;
