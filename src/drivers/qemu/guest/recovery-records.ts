// The records by which the QEMUs of a migration are found again after a crash of this process, and the search for
// them. A QEMU that was found once is never started twice.

import { rm } from "node:fs/promises";
import { basename } from "node:path";
import * as z from "zod/mini";
import type { Clock, DestinationGuest, SourceGuest } from "../../../effects/ports.js";
import { hostName, socketPath } from "../../../protocol/address-schemas.js";
import { cause } from "../../../protocol/effect-result.js";
import { isStreamOptions, type StreamOptions } from "../../../protocol/stream.js";
import { isAlive } from "../../platform/procfs.js";
import { GuestLog } from "../process/guest-log.js";
import { handle, handleIn } from "../process/handle-file.js";
import { QemuGoneError, QemuMuteError, QemuProcess } from "../process/process.js";
import type { Hosting, QemuHandle, QemuSpec } from "../process/spec.js";
import { dropImages } from "../storage/images.js";
import { goneDestination, goneSource } from "./dead-guests.js";
import { QemuDestinationGuest } from "./destination-guest.js";
import { QemuSourceGuest } from "./source-guest.js";

const spec = z.object({
  name: z.string(),
  uuid: z.string(),
  binary: z.exactOptional(z.string()),
  args: z.readonly(z.array(z.string())),
  env: z.exactOptional(z.record(z.string(), z.string())),
});
export const streamOptionsSchema = z._default(z.custom<StreamOptions>(isStreamOptions), {});
const sourceHost = z.object({
  spec,
  qemu: handle,
  pauseBeforeSwitchover: z.boolean(),
  abortOnError: z.boolean(),
  graphics: z.exactOptional(
    z.object({
      protocol: z.literal("spice"),
      host: z.string(),
      port: z.exactOptional(z.number()),
      tlsPort: z.exactOptional(z.number()),
      certSubject: z.exactOptional(z.string()),
    }),
  ),
  stream: streamOptionsSchema,
  storage: z.nullable(
    z.object({
      disks: z.union([z.literal("all"), z.readonly(z.array(z.string()))]),
      sync: z.enum(["full", "top"]),
      synchronousWrites: z.boolean(),
    }),
  ),
});
const image = z.object({
  disk: z.string(),
  path: z.string(),
  format: z.enum(["raw", "qcow2"]),
  backing: z.exactOptional(z.object({ path: z.string(), format: z.string() })),
});
const listenAt = z.object({ bind: hostName, host: hostName, ports: z.readonly(z.array(z.number())) });
const destinationHost = z.object({
  spec,
  images: z.readonly(z.array(image)),
  disksAt: z.exactOptional(z.union([socketPath, listenAt])),
  sideArgs: z.readonly(z.array(z.string())),
  directory: z.string(),
  transport: z.union([z.enum(["unix", "tcp"]), listenAt]),
  stream: streamOptionsSchema,
  syncTime: z.exactOptional(z.object({ agent: z.string() })),
});
export type SourceHost = z.input<typeof sourceHost>;
export type DestinationHost = z.output<typeof destinationHost>;

/** The result of the search: the QEMU if it was found, and the guest's port in either case. */
interface Found<Guest> {
  readonly spec: QemuSpec;
  readonly qemu: QemuProcess | null;
  readonly guest: Guest;
}

/** The host on which a guest is searched for. */
interface Here {
  readonly clock: Clock;
  readonly hosting?: Hosting;
}

/** @throws Error when the journal's record cannot be read; QemuMuteError when QEMU is alive and cannot be reached. */
export async function findSource(
  host: unknown,
  here: Here,
): Promise<Found<QemuSourceGuest> | (Found<SourceGuest> & { qemu: null })> {
  const { qemu: wanted, spec, ...options } = sourceHost.parse(host);
  const qemu = await attach(wanted, spec, here);
  return qemu instanceof QemuGoneError
    ? { spec, qemu: null, guest: goneSource(qemu.why) }
    : { spec, qemu, guest: new QemuSourceGuest(qemu, { clock: here.clock, ...options }) };
}

interface DestinationKnown {
  readonly isUndecided?: boolean;
  readonly fetchesMemory?: boolean;
}

/**
 * `isUndecided`: the guest cannot have run here, so an unresponsive QEMU can only be ended. `fetchesMemory`: the
 * guest was taken in post-copy, so QEMU may be unresponsive until its connection is re-established. @throws Error
 * when the journal's record cannot be read; QemuMuteError when QEMU is alive and cannot be reached.
 */
export async function findDestination(
  host: unknown,
  here: Here,
  { isUndecided = false, fetchesMemory = false }: DestinationKnown = {},
): Promise<Found<QemuDestinationGuest> | (Found<DestinationGuest> & { qemu: null })> {
  const { spec, directory, ...rest } = destinationHost.parse(host);
  const wanted = await handleIn(directory);
  const qemu =
    wanted === undefined
      ? new QemuGoneError(cause("no QEMU of this migration was found"))
      : await attach(wanted, spec, here, fetchesMemory).catch((error: unknown) => {
          // Its guest has never run: it can be ended without an answer.
          if (error instanceof QemuMuteError && isUndecided)
            return QemuProcess.mute(wanted, { clock: here.clock, log: logOf(spec, here) });
          throw error;
        });
  if (qemu instanceof QemuGoneError) {
    await rm(directory, { recursive: true, force: true });
    dropImages(rest.images, basename(directory));
    return { spec, qemu: null, guest: goneDestination(qemu.why) };
  }
  const options = { spec, directory, ...rest, clock: here.clock, hosting: here.hosting };
  return { spec, qemu, guest: new QemuDestinationGuest(options, qemu) };
}

function logOf({ name }: QemuSpec, { hosting }: Here): GuestLog | undefined {
  const directory = hosting?.logDirectory;
  return directory === undefined ? undefined : new GuestLog(directory, name);
}

async function attach(
  wanted: QemuHandle,
  spec: QemuSpec,
  here: Here,
  mayWaitForPages = false,
): Promise<QemuProcess | QemuGoneError> {
  try {
    return await QemuProcess.attach(wanted, { clock: here.clock, log: logOf(spec, here), mayWaitForPages });
  } catch (error) {
    if (error instanceof QemuGoneError) return error;
    throw isAlive(wanted) ? new QemuMuteError(wanted, { cause: error }) : error;
  }
}
