// `migrate`: both sides and the coordinator in one process, on two QEMUs of this machine. It puts the parts together;
// every decision is the machines'.

import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "xstate";
import { memoryJournal } from "../../drivers/journal/memory-journal.js";
import { systemClock, systemIds } from "../../drivers/platform/clock.js";
import {
  type Launcher,
  QemuDestinationGuest,
  type SyncTime,
} from "../../drivers/qemu/guest/destination-guest.js";
import { checkGraphics, type GraphicsOptions } from "../../drivers/qemu/guest/graphics.js";
import type { DestinationHost, SourceHost } from "../../drivers/qemu/guest/recovery-records.js";
import { QemuSourceGuest, type StorageCopy } from "../../drivers/qemu/guest/source-guest.js";
import type { Image } from "../../drivers/qemu/storage/images.js";
import { openCoordinator, openDestination, openSource } from "../../effects/actors.js";
import type { EffectInterceptor } from "../../effects/bind.js";
import { type DestinationActor, localDestination, localSource } from "../../effects/in-process-peers.js";
import type { Clock, Fence, Ids, Journal } from "../../effects/ports.js";
import type { Inspect, Observe } from "../../effects/trace.js";
import { checkLimits, defaultLimits, type Limits } from "../../protocol/convergence/limits.js";
import { type ConvergencePolicy, noPolicy } from "../../protocol/convergence/policy.js";
import { checkConvergencePolicy } from "../../protocol/convergence/validate.js";
import { type Deadlines, defaultDeadlines } from "../../protocol/deadlines.js";
import type { Identity } from "../../protocol/messages.js";
import { checkStream, type Dropped, type StreamOptions } from "../../protocol/stream.js";
import { checkPolicy, defaultPolicy, type Policy } from "../../protocol/unreachable-policy.js";
import { conduct, type Migration } from "../migration-handle.js";
import { checkAvailable, holding } from "./one-migration.js";
import { asRunningGuest, type RunningGuest } from "./running-guest.js";

/** Disks that travel with the guest. Their copies are whole before the guest runs at the destination (G4). */
export interface CopiedStorage {
  /** By the ids of their devices. Default: each that the guest can write to. */
  readonly disks?: "all" | readonly string[];
  /** Both sides share the backing files, and only what lies above them is copied. Default: false. */
  readonly incremental?: boolean;
  /** The guest's writes wait for their copies, so that the copying ends whatever it writes. Default: false. */
  readonly synchronousWrites?: boolean;
  /** The destination's images; those that are missing are made, and removed again when the guest does not arrive. */
  readonly images?: readonly Image[];
}

export interface MigrateOptions {
  readonly guest: RunningGuest;
  readonly destination?: {
    /** QEMU arguments of the destination's side alone, such as where its serial port writes. */
    readonly sideArgs?: readonly string[];
    /** Default: the source's binary. */
    readonly binary?: string;
    /** Default: the source's hardware. */
    readonly args?: readonly string[];
    /** Default: QEMU is started as a child of this process. */
    readonly launch?: Launcher;
  };
  /** Default `unix`: plain tcp can add a 41 ms stall to the pause (docs/decisions/0003). */
  readonly transport?: "unix" | "tcp";
  /**
   * Uses QEMU's gate before the switchover, which doubles the pause (docs/decisions/0004). Default: only when disks are
   * copied, since their copies are ended there.
   */
  readonly pauseBeforeSwitchover?: boolean;
  /** The contents of disks that the two sides do not share. Default: all storage is shared. */
  readonly storage?: CopiedStorage;
  /** Gives the migration up when an I/O error of a disk stops the guest (its `werror` and `rerror`). Default: false. */
  readonly abortOnError?: boolean;
  /** Connections, compression, convergence, TLS and so on of the memory stream. Default: one plain connection. */
  readonly stream?: StreamOptions;
  /** Where the clients of the guest's graphics find it at the destination. Best effort: the outcome tells when they are not told. */
  readonly graphics?: GraphicsOptions;
  /**
   * Has the guest's agent set its clock once it has arrived, which is behind by the pause, as `virsh domtime --sync` does.
   * Best effort: the outcome waits up to 5 s for it, and tells when it failed.
   */
  readonly syncTime?: SyncTime;
  readonly limits?: Partial<Limits>;
  /** What is done when memory does not converge, by rules. Default: nothing. */
  readonly convergence?: ConvergencePolicy;
  readonly deadlines?: Partial<Deadlines>;
  /** What the source does when it has handed the guest over and the destination does not answer. Default: it waits. */
  readonly policy?: Partial<Policy>;
  /** Asked before the guest is run at the destination; needed by the policy `fence`. */
  readonly fence?: Fence;
  /** Default: in memory. With one on disk, `recoverMigrations` takes a migration up again after a crash. */
  readonly journal?: Journal;
  readonly clock?: Clock;
  readonly ids?: Ids;
  /**
   * Told each record of the story at once, and all else that is seen: calls and their answers, the dialogue with QEMU,
   * progress. What it throws is thrown as uncaught, and harms no migration.
   */
  readonly observe?: Observe;
  /** For the inspectors of XState (docs/inspecting-with-xstate.md). What it throws is thrown as uncaught too. */
  readonly inspect?: Inspect;
}

/**
 * Moves a running guest into a new QEMU on this machine, and ends the old one.
 * @throws RangeError when a limit, a wish for the stream or a policy cannot be used; GuestUnavailableError when the guest is
 * being migrated already, or has moved away from this QEMU. Nothing has been touched then.
 */
export const migrate = (options: MigrateOptions): Migration => migrateWith(options);

/**
 * `around` stands around each effect and each question: where a sweep puts its faults in.
 * @internal
 */
export function migrateWith(options: MigrateOptions, around?: EffectInterceptor): Migration {
  const { guest, clock = systemClock, ids = systemIds, journal = memoryJournal(), fence, observe } = options;
  checkLimits(options.limits ?? {});
  const limits = { ...defaultLimits, ...options.limits };
  const deadlines = { ...defaultDeadlines, ...options.deadlines };
  const policy = { ...defaultPolicy, ...options.policy };
  checkPolicy(policy, fence !== undefined);
  const { pauseBeforeSwitchover = false, abortOnError = false, transport = "unix", stream = {} } = options;
  checkStream(stream, transport);
  const { convergence = noPolicy } = options;
  checkConvergencePolicy(convergence);
  checkPostcopy(stream.postcopy !== undefined, convergence, policy);
  checkAvailable(guest);
  const { name, uuid } = guest.spec;
  const migrationId = ids.next();
  const identity: Identity = { migrationId, uuid, name };
  const surroundings = { journal, clock, fence, around, observe, inspect: options.inspect };

  const { graphics, syncTime } = options;
  if (graphics !== undefined) checkGraphics(graphics);
  const sourceOptions = {
    pauseBeforeSwitchover,
    abortOnError,
    storage: copyOf(options.storage),
    stream,
    ...(graphics && { graphics }),
  };
  const sourceHost: SourceHost = { spec: guest.spec, qemu: guest.process.handle, ...sourceOptions };
  // What both sides leave out, both tell.
  const dropped = new Map<string, Dropped>();
  const onDropped = (what: readonly Dropped[]) => {
    for (const option of what) dropped.set(`${option.option}: ${option.why}`, option);
  };
  const sourceGuest = new QemuSourceGuest(guest.process, { clock, ...sourceOptions, onDropped });
  const { sideArgs = [], launch, ...twin } = options.destination ?? {};
  const spec = { ...guest.spec, ...twin };
  const directory = join(tmpdir(), `switchover-${migrationId}`);
  const images = options.storage?.images ?? [];
  const destinationHost: DestinationHost = {
    spec,
    images,
    sideArgs,
    directory,
    transport,
    stream,
    ...(syncTime && { syncTime }),
  };
  const destinationGuest = new QemuDestinationGuest({ ...destinationHost, clock, launch, onDropped });

  let destination: DestinationActor | null = null;
  let changed = () => {};
  const destinationPeer = localDestination((description) => {
    const input = { identity, guest: description, deadlines };
    const opened = openDestination(surroundings, input, destinationGuest, destinationHost);
    destination = opened.actor;
    destination.subscribe({ next: () => changed(), error: () => changed() });
    destination.start();
    return opened;
  });
  const source = openSource(
    surroundings,
    { identity, limits, deadlines, policy, convergence },
    sourceGuest,
    destinationPeer,
    sourceHost,
  );
  const coordinator = openCoordinator(
    surroundings,
    { identity, deadlines },
    localSource(source),
    destinationPeer,
  );

  const migration = conduct({
    migrationId,
    source: source.actor,
    coordinator,
    destination: () => destination,
    onChange: (listener) => {
      changed = listener;
    },
    guestAt: async (side) => {
      if (side === "source") return guest;
      const qemu = await destinationGuest.process;
      return qemu === undefined ? null : asRunningGuest(spec, qemu);
    },
    times: () => timesOf(sourceGuest, destinationGuest),
    dropped: () => [...dropped.values()],
    finalize: () => destinationGuest.finalize(),
  });
  const sourceEnded = waitFor(source.actor, ({ status }) => status !== "active");
  return { ...migration, outcome: holding(guest, migrationId, migration.outcome, sourceEnded) };
}

/** @throws RangeError when post-copy is asked for and cannot be. */
function checkPostcopy(isAllowed: boolean, convergence: ConvergencePolicy, policy: Policy): void {
  if (!isAllowed && convergence.some((rule) => rule.do === "postcopy"))
    throw new RangeError("a rule of the convergence policy asks for post-copy; allow it by stream.postcopy");
  // A guest that its fence gave back could not be run at the source any more.
  if (isAllowed && policy.whenUnreachable !== "wait")
    throw new RangeError(`the policy "${policy.whenUnreachable}" does not go with post-copy; choose "wait"`);
}

function copyOf(storage: CopiedStorage | undefined): StorageCopy | null {
  if (storage === undefined) return null;
  const { disks = "all", incremental = false, synchronousWrites = false } = storage;
  return { disks, sync: incremental ? "top" : "full", synchronousWrites };
}

/** @internal */
export async function timesOf(source: QemuSourceGuest, destination: QemuDestinationGuest) {
  const { stoppedAtMicros } = source;
  const { resumedAtMicros } = destination;
  const moved = stoppedAtMicros !== undefined && resumedAtMicros !== undefined;
  return {
    downtimeMs: moved ? (resumedAtMicros - stoppedAtMicros) / 1000 : null,
    qemuTotalMs: (await source.qemuTotalMs()) ?? null,
  };
}
