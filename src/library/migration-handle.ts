// The caller's handle for one migration, over its three actors. It makes no decisions.

import { waitFor } from "xstate";
import type { openCoordinator } from "../effects/actors.js";
import type { DestinationActor, SourceActor } from "../effects/in-process-peers.js";
import type { CoordinatorOutput } from "../machines/coordinator/machine.js";
import { stateName } from "../machines/shared/walk.js";
import { forecastOf } from "../machines/source/setup.js";
import type { Forecast } from "../protocol/convergence/forecast.js";
import { checkLimits, type Limits, type Progress } from "../protocol/convergence/limits.js";
import { failure } from "../protocol/failure.js";
import type { Abort } from "../protocol/messages.js";
import { MigrationError } from "../protocol/migration-error.js";
import { type OutcomeKind, outcomes, type RunningSide } from "../protocol/outcomes.js";
import type { Dropped } from "../protocol/stream.js";
import { createFeed } from "./latest-value-iterable.js";
import type { RunningGuest } from "./local/running-guest.js";
import { askForLimits, askForPostcopy, firstAside, type Tuned } from "./user-commands.js";

/** The state of a migration at one moment. */
export interface MigrationSnapshot {
  readonly migrationId: string;
  readonly source: string;
  /** Null before Prepare. */
  readonly destination: string | null;
  readonly coordinator: string;
  readonly progress: Progress | null;
  /** The forecast of convergence: if, when, and with what downtime. */
  readonly forecast: Forecast;
  readonly limits: Limits;
}

export interface Outcome {
  readonly kind: OutcomeKind;
  readonly runs: RunningSide;
  /** The guest where it runs now; null when no side runs it, or an unknown one. */
  readonly guest: RunningGuest | null;
  /** Null if and only if the guest arrived. */
  readonly error: MigrationError | null;
  /** Downtime in ms, from STOP at the source to RESUME at the destination, by QEMU's timestamps; null if the guest did not move. */
  readonly downtimeMs: number | null;
  /** QEMU's total time of the memory stream in ms; null if it did not complete. */
  readonly qemuTotalMs: number | null;
  /** Requested stream options, graphics and clock synchronization that were not applied, with the reasons. */
  readonly dropped: readonly Dropped[];
}

export interface Migration {
  readonly migrationId: string;
  /** Never rejects: the outcome of a migration that did not arrive carries its MigrationError. */
  readonly outcome: Promise<Outcome>;
  /** A snapshot at each change; ends with the migration. May be iterated more than once. */
  readonly progress: AsyncIterable<MigrationSnapshot>;
  /** Aborts the migration. Accepted until the guest has been handed over, refused with a reason afterwards. */
  abort(): Promise<Abort>;
  /** In milliseconds. Resolves when QEMU has applied the limit or it was refused. @throws RangeError */
  setMaxDowntime(maxDowntimeMs: number): Promise<Tuned>;
  /** In MiB/s, 0 for no limit. @throws RangeError */
  setBandwidth(bandwidthMiBps: number): Promise<Tuned>;
  /** Sets the stall timeout: the maximum time without data transfer, in milliseconds. @throws RangeError */
  setStall(stallMs: number): Promise<Tuned>;
  /** Switches to post-copy. Resolves when QEMU has accepted the command or it was refused. */
  startPostcopy(): Promise<Tuned>;
  snapshot(): MigrationSnapshot;
}

/** The parts that a migration handle is built from. */
export interface Parts {
  readonly migrationId: string;
  readonly source: SourceActor;
  readonly coordinator: ReturnType<typeof openCoordinator>;
  /** Null before Prepare. */
  destination(): DestinationActor | null;
  /** Registers a listener for changes of the destination's state. */
  onChange(listener: () => void): void;
  /** Returns the guest at that side; null when there is no QEMU. */
  guestAt(side: "source" | "destination"): Promise<RunningGuest | null>;
  /** Returns QEMU's times, as far as they are known. */
  times(): Promise<Pick<Outcome, "downtimeMs" | "qemuTotalMs">>;
  /** Returns the options that were not applied. Absent when that is not known any more. */
  dropped?(): readonly Dropped[];
  /** Called after the guest has arrived; its result does not change the outcome. */
  finalize(): Promise<void>;
}

/** Starts the source and the coordinator, and observes all actors until the outcome is known. */
export function conduct(parts: Parts): Migration {
  const { migrationId, source, coordinator } = parts;
  const snapshot = (): MigrationSnapshot => {
    const destination = parts.destination();
    return {
      migrationId,
      source: stateName(source.getSnapshot()),
      destination: destination && stateName(destination.getSnapshot()),
      coordinator: stateName(coordinator.getSnapshot()),
      progress: source.getSnapshot().context.progress,
      forecast: forecastOf(source.getSnapshot().context),
      limits: source.getSnapshot().context.limits,
    };
  };
  const feed = createFeed(snapshot);
  parts.onChange(() => feed.changed());
  const changed = { next: () => feed.changed(), error: () => feed.changed() };
  source.subscribe(changed);
  source.start();
  coordinator.start();

  const ended = async (): Promise<Outcome> => {
    const { output } = await waitFor(coordinator, ({ status }) => status !== "active");
    if (output === undefined) throw new Error("bug: the coordinator ended without an outcome");
    const destination = parts.destination();
    if (output.kind !== "undecided") {
      await waitFor(source, ({ status }) => status !== "active");
      if (destination !== null) await waitFor(destination, ({ status }) => status !== "active");
    }
    const { kind } = output;
    if (kind === "arrived") await parts.finalize().catch(() => {});
    const { runs } = outcomes[kind];
    return {
      kind,
      runs,
      guest: runs === "source" || runs === "destination" ? await parts.guestAt(runs) : null,
      error: kind === "arrived" ? null : errorOf(kind, output),
      ...(await parts.times()),
      dropped: parts.dropped?.() ?? [],
    };
  };

  const setLimits = (changed: Partial<Limits>): Promise<Tuned> => {
    checkLimits(changed);
    return askForLimits(source, changed);
  };

  const abort = async (): Promise<Abort> => {
    if (coordinator.getSnapshot().status !== "active") {
      return { accepted: false, why: "the migration has ended" };
    }
    const refusal = firstAside(coordinator, (aside) => aside.type === "refused");
    coordinator.send({ type: "operator.aborted" });
    const accepted = waitFor(
      coordinator,
      (state) =>
        state.status !== "active" ||
        state.matches({ performing: "aborted" }) ||
        state.matches("finishingCancelled") ||
        state.matches("confirmingCancelled"),
    ).then(() => undefined);
    const refused = await Promise.race([refusal, accepted]);
    return refused?.type === "refused"
      ? { accepted: false, why: refused.why }
      : { accepted: true, why: "the migration is being cancelled" };
  };

  return {
    migrationId,
    outcome: ended().finally(() => feed.end()),
    progress: feed.iterable,
    abort,
    setMaxDowntime: (maxDowntimeMs) => setLimits({ maxDowntimeMs }),
    setBandwidth: (bandwidthMiBps) => setLimits({ bandwidthMiBps }),
    setStall: (stallMs) => setLimits({ stallMs }),
    startPostcopy: () => askForPostcopy(source),
    snapshot,
  };
}

/** @internal */
export function errorOf(kind: Exclude<OutcomeKind, "arrived">, output: CoordinatorOutput): MigrationError {
  const [first, ...rest] = output.failures;
  const unanswered = failure("unanswered", "confirm", "source", {
    message: "the source has not reported how it ended",
  });
  return new MigrationError(kind, [first ?? unanswered, ...rest], output.undone);
}
