// `migrate`: both sides and the coordinator in one process, on two QEMUs of this machine. It puts the parts together
// and hands out one handle; every decision is the machines'.

import { tmpdir } from "node:os";
import { join } from "node:path";
import { createActor, waitFor } from "xstate";
import { localDestination, localSource } from "./drivers/local-peers.js";
import { memoryJournal } from "./drivers/memory-journal.js";
import { type Launcher, QemuDestinationGuest } from "./drivers/qemu/destination-guest.js";
import { QemuSourceGuest } from "./drivers/qemu/source-guest.js";
import { systemClock, systemIds } from "./drivers/system.js";
import { type Around, bindCoordinator, bindDestination, bindSource } from "./effects/bind.js";
import type { Clock, Ids, Journal, JournalRecord } from "./effects/ports.js";
import { createRecorder, stateName } from "./effects/record.js";
import { asRunningGuest, type RunningGuest } from "./guests.js";
import type { CoordinatorOutput } from "./machines/coordinator.js";
import type { Aside } from "./machines/habits.js";
import { createFeed } from "./progress-feed.js";
import { checkLimits, defaultLimits, type Limits, type Progress } from "./protocol/convergence.js";
import { type Deadlines, defaultDeadlines } from "./protocol/deadlines.js";
import { MigrationError } from "./protocol/errors.js";
import { failure } from "./protocol/failures.js";
import type { Abort, GuestDescription, Identity } from "./protocol/messages.js";
import { type OutcomeKind, outcomes, type Runner } from "./protocol/outcomes.js";

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
  /** Default false: QEMU's gate before the switchover doubles the pause, and nothing waits in it yet (docs/decisions/0004). */
  readonly pauseBeforeSwitchover?: boolean;
  readonly limits?: Partial<Limits>;
  readonly deadlines?: Partial<Deadlines>;
  readonly journal?: Journal;
  readonly clock?: Clock;
  readonly ids?: Ids;
  /** Told each record of the story at once. What it throws is thrown as uncaught, and harms no migration. */
  readonly onRecord?: (record: JournalRecord) => void;
}

/** What is known at one moment. */
export interface MigrationSnapshot {
  readonly migrationId: string;
  readonly source: string;
  /** Null before Prepare. */
  readonly destination: string | null;
  readonly coordinator: string;
  readonly progress: Progress | null;
  readonly limits: Limits;
}

export interface Outcome {
  readonly kind: OutcomeKind;
  readonly runs: Runner;
  /** The guest where it is now; null when nobody, or an unknown side, runs it. */
  readonly guest: RunningGuest | null;
  /** Null exactly when the guest arrived. */
  readonly error: MigrationError | null;
  /** From the guest's STOP at the source to its RESUME at the destination, by QEMU's clocks, in ms; null if it did not move. */
  readonly pauseMs: number | null;
  /** QEMU's own total time of the memory stream in ms; null if it did not end. */
  readonly qemuTotalMs: number | null;
}

export interface Migration {
  readonly migrationId: string;
  /** Never rejects: a migration that did not arrive carries its MigrationError. */
  readonly outcome: Promise<Outcome>;
  /** What is known, at each change; ends with the migration. May be iterated more than once. */
  readonly progress: AsyncIterable<MigrationSnapshot>;
  /** Obeyed until the guest has been handed over, and refused with a reason after it. */
  abort(): Promise<Abort>;
  /** In milliseconds. @throws RangeError. Resolves to whether QEMU has been told. */
  setMaxDowntime(maxDowntimeMs: number): Promise<Tuned>;
  /** In MiB/s, 0 for no limit. @throws RangeError. */
  setBandwidth(bandwidthMiBps: number): Promise<Tuned>;
  /** Watchdog: the longest time without progress, in milliseconds. @throws RangeError. */
  setStall(stallMs: number): Promise<Tuned>;
  snapshot(): MigrationSnapshot;
}

export interface Tuned {
  readonly applied: boolean;
  readonly why: string;
}

/**
 * Moves a running guest into a new QEMU on this machine, and ends the old one.
 * @throws RangeError when a limit is out of range; nothing has been touched then.
 */
export const migrate = (options: MigrateOptions): Migration => migrateWith(options);

/**
 * `around` stands around each effect and each question: where a sweep puts its faults in.
 * @internal
 */
export function migrateWith(options: MigrateOptions, around?: Around): Migration {
  const { guest, clock = systemClock, ids = systemIds, journal = memoryJournal() } = options;
  checkLimits(options.limits ?? {});
  const limits = { ...defaultLimits, ...options.limits };
  const deadlines = { ...defaultDeadlines, ...options.deadlines };
  const { name, uuid } = guest.spec;
  const identity: Identity = { migrationId: ids.next(), uuid, name };
  const { migrationId } = identity;
  const recorderOf = (side: JournalRecord["side"]) =>
    createRecorder({ migrationId, side, journal, clock, onRecord: options.onRecord });
  const logic = { clock: { setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout } };

  const sourceGuest = new QemuSourceGuest(guest.process, {
    clock,
    pauseBeforeSwitchover: options.pauseBeforeSwitchover ?? false,
  });
  const { sideArgs = [], launch, ...twin } = options.destination ?? {};
  const spec = { ...guest.spec, ...twin };
  const destinationGuest = new QemuDestinationGuest({
    spec,
    sideArgs,
    clock,
    launch,
    directory: join(tmpdir(), `switchover-${migrationId}`),
    transport: options.transport ?? "unix",
  });

  let destination: ReturnType<typeof startDestination> | null = null;
  const startDestination = (description: GuestDescription) => {
    const recorder = recorderOf("destination");
    const actor = createActor(bindDestination({ recorder, clock, around }, destinationGuest), {
      ...logic,
      input: { identity, guest: description, deadlines },
    });
    actor.on("*", recorder.aside);
    actor.subscribe({ next: () => feed.changed(), error: () => feed.changed() });
    return actor.start();
  };
  const destinationPeer = localDestination((description) => {
    destination = startDestination(description);
    return destination;
  });

  const sourceRecorder = recorderOf("source");
  const source = createActor(
    bindSource({ recorder: sourceRecorder, clock, around }, sourceGuest, destinationPeer),
    {
      ...logic,
      input: { identity, limits, deadlines },
    },
  );
  source.on("*", sourceRecorder.aside);
  const coordinatorRecorder = recorderOf("coordinator");
  const coordinator = createActor(
    bindCoordinator({ recorder: coordinatorRecorder, clock, around }, localSource(source), destinationPeer),
    {
      ...logic,
      input: { identity, deadlines },
    },
  );
  coordinator.on("*", coordinatorRecorder.aside);

  const snapshot = (): MigrationSnapshot => ({
    migrationId,
    source: stateName(source.getSnapshot().value),
    destination: destination && stateName(destination.getSnapshot().value),
    coordinator: stateName(coordinator.getSnapshot().value),
    progress: source.getSnapshot().context.progress,
    limits: source.getSnapshot().context.limits,
  });
  const feed = createFeed(snapshot);
  source.subscribe({ next: () => feed.changed(), error: () => feed.changed() });
  source.start();
  coordinator.start();

  const ended = async (): Promise<Outcome> => {
    const { output } = await waitFor(coordinator, (it) => it.status !== "active");
    if (output === undefined) throw new Error("the coordinator ended without an outcome");
    if (output.kind !== "undecided") {
      await waitFor(source, (it) => it.status !== "active");
      if (destination !== null) await waitFor(destination, (it) => it.status !== "active");
    }
    if (output.kind === "arrived") await destinationGuest.putSettingsBack().catch(() => {});
    return describeOutcome(output);
  };

  const describeOutcome = async (output: CoordinatorOutput): Promise<Outcome> => {
    const { kind } = output;
    const arrived = kind === "arrived" ? await destinationGuest.process : undefined;
    const stayed = kind === "stayed" || kind === "aborted" ? guest : null;
    const { stoppedAtMicros } = sourceGuest;
    const { resumedAtMicros } = destinationGuest;
    return {
      kind,
      runs: outcomes[kind].runs,
      guest: arrived ? asRunningGuest(spec, arrived) : stayed,
      error: kind === "arrived" ? null : errorOf(kind, output),
      pauseMs:
        stoppedAtMicros !== undefined && resumedAtMicros !== undefined
          ? (resumedAtMicros - stoppedAtMicros) / 1000
          : null,
      qemuTotalMs: (await sourceGuest.qemuTotalMs()) ?? null,
    };
  };

  const tune = (changed: Partial<Limits>): Promise<Tuned> => {
    checkLimits(changed);
    if (source.getSnapshot().status !== "active") {
      return Promise.resolve({ applied: false, why: "the migration has ended" });
    }
    const heard = firstAside(source, (it) => it.type === "tuned" || it.event === "person.tuned");
    source.send({ type: "person.tuned", limits: changed });
    // Before the stream has begun QEMU is told with everything else.
    if (source.getSnapshot().matches("begun") || source.getSnapshot().matches("starting")) {
      return Promise.resolve({ applied: true, why: "used from the start" });
    }
    return heard.then((it) =>
      it?.type === "tuned"
        ? { applied: true, why: "QEMU has been told" }
        : { applied: false, why: it?.why ?? "the migration has ended" },
    );
  };

  const abort = async (): Promise<Abort> => {
    if (coordinator.getSnapshot().status !== "active") {
      return { accepted: false, why: "the migration has ended" };
    }
    const refusal = firstAside(coordinator, (it) => it.type === "refused");
    coordinator.send({ type: "person.aborted" });
    const obeyed = waitFor(
      coordinator,
      (it) =>
        it.status !== "active" ||
        it.matches({ performing: "aborted" }) ||
        it.matches("finishingCancelled") ||
        it.matches("confirmingCancelled"),
    ).then(() => undefined);
    const refused = await Promise.race([refusal, obeyed]);
    return refused?.type === "refused"
      ? { accepted: false, why: refused.why }
      : { accepted: true, why: "the migration is being undone" };
  };

  return {
    migrationId,
    outcome: ended().finally(() => feed.end()),
    progress: feed.iterable,
    abort,
    setMaxDowntime: (maxDowntimeMs) => tune({ maxDowntimeMs }),
    setBandwidth: (bandwidthMiBps) => tune({ bandwidthMiBps }),
    setStall: (stallMs) => tune({ stallMs }),
    snapshot,
  };
}

function errorOf(kind: Exclude<OutcomeKind, "arrived">, output: CoordinatorOutput): MigrationError {
  const [first, ...rest] = output.failures;
  const unheard = failure("unanswered", "confirm", "source", {
    message: "the source has not said how it ended",
  });
  return new MigrationError(kind, [first ?? unheard, ...rest], output.undone);
}

interface SpeaksAside {
  on(type: "*", listener: (aside: Aside) => void): { unsubscribe(): void };
  subscribe(observer: { complete(): void }): { unsubscribe(): void };
}

/** The first aside that fits; undefined when the actor ends before it. */
function firstAside(actor: SpeaksAside, fits: (aside: Aside) => boolean): Promise<Aside | undefined> {
  return new Promise((resolve) => {
    const listening = actor.on("*", (aside) => {
      if (fits(aside)) end(aside);
    });
    const ending = actor.subscribe({ complete: () => end(undefined) });
    const end = (aside: Aside | undefined) => {
      listening.unsubscribe();
      ending.unsubscribe();
      resolve(aside);
    };
  });
}
