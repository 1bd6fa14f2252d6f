// `migrate`: runs both sides and the coordinator in one process, with two QEMUs on this machine. It only composes the parts;
// the machines make all decisions.

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

/** Disks that are copied with the guest. Their copies are complete before the guest runs at the destination (G4). */
export interface CopiedStorage {
  /** Device ids of the disks. Default: every disk that the guest can write to. */
  readonly disks?: "all" | readonly string[];
  /** Copies only the data above the backing files, which both sides share. Default: false. */
  readonly incremental?: boolean;
  /** The guest's writes wait for the mirror, so that the copy converges at any write rate. Default: false. */
  readonly synchronousWrites?: boolean;
  /** The destination's images. Missing ones are created, and removed again if the guest does not arrive. */
  readonly images?: readonly Image[];
}

export interface MigrateOptions {
  readonly guest: RunningGuest;
  readonly destination?: {
    /** QEMU arguments for the destination only, such as the target of its serial port. */
    readonly sideArgs?: readonly string[];
    /** Default: the source's binary. */
    readonly binary?: string;
    /** Default: the source's hardware. */
    readonly args?: readonly string[];
    /** Default: QEMU is started as a child of this process. */
    readonly launch?: Launcher;
  };
  /** Default `unix`: plain tcp can add a 41 ms stall to the downtime (docs/decisions/0003). */
  readonly transport?: "unix" | "tcp";
  /**
   * Uses QEMU's `pause-before-switchover`, which doubles the downtime (docs/decisions/0004). Default: only when disks are
   * copied, because their mirrors are completed there.
   */
  readonly pauseBeforeSwitchover?: boolean;
  /** The disks that the two sides do not share. Default: all storage is shared. */
  readonly storage?: CopiedStorage;
  /** Aborts the migration when a disk I/O error stops the guest (its `werror` and `rerror`). Default: false. */
  readonly abortOnError?: boolean;
  /** Options of the memory stream: connections, compression, convergence, TLS. Default: one plain connection. */
  readonly stream?: StreamOptions;
  /** Where graphics clients reconnect at the destination. Best effort: `dropped` reports when they could not be redirected. */
  readonly graphics?: GraphicsOptions;
  /**
   * Sets the guest's clock through its agent after arrival, as `virsh domtime --sync` does, because it is behind by the
   * downtime. Best effort: the outcome waits up to 5 s for it, and `dropped` reports a failure.
   */
  readonly syncTime?: SyncTime;
  readonly limits?: Partial<Limits>;
  /** Rules for a migration that does not converge. Default: none. */
  readonly convergence?: ConvergencePolicy;
  readonly deadlines?: Partial<Deadlines>;
  /** What the source does when the destination does not answer after the handover. Default: it waits. */
  readonly policy?: Partial<Policy>;
  /** Claimed before the guest runs at the destination; required by the policy `fence`. */
  readonly fence?: Fence;
  /** Default: in memory. With a journal on disk, `recoverMigrations` resumes the migration after a crash. */
  readonly journal?: Journal;
  readonly clock?: Clock;
  readonly ids?: Ids;
  /**
   * Receives each record of the story at once, and all other observations: calls and their answers, the dialogue with QEMU,
   * progress. An exception in it is rethrown asynchronously and does not affect the migration.
   */
  readonly observe?: Observe;
  /** For XState's inspectors (docs/inspecting-with-xstate.md). Exceptions are rethrown asynchronously too. */
  readonly inspect?: Inspect;
}

/**
 * Migrates a running guest to a new QEMU on this machine, and ends the old one.
 * @throws RangeError when a limit, a stream option or a policy is invalid; GuestUnavailableError when the guest is already
 * being migrated, or has left this QEMU. In both cases nothing has been changed.
 */
export const migrate = (options: MigrateOptions): Migration => migrateWith(options);

/**
 * `around` intercepts each effect and each request, so that tests can inject faults.
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
  // Both sides report an option that both drop, so it is recorded once.
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

/** @throws RangeError when post-copy is requested and cannot be used. */
function checkPostcopy(isAllowed: boolean, convergence: ConvergencePolicy, policy: Policy): void {
  if (!isAllowed && convergence.some((rule) => rule.do === "postcopy"))
    throw new RangeError(
      "a rule of the convergence policy requires post-copy; enable it with stream.postcopy",
    );
  // In post-copy the source can no longer run a guest whose destination was fenced off.
  if (isAllowed && policy.whenUnreachable !== "wait")
    throw new RangeError(`the policy "${policy.whenUnreachable}" conflicts with post-copy; use "wait"`);
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
