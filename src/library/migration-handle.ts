// One migration as its user holds it: the handle over the three actors. It decides nothing.

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

/** What is known at one moment. */
export interface MigrationSnapshot {
  readonly migrationId: string;
  readonly source: string;
  /** Null before Prepare. */
  readonly destination: string | null;
  readonly coordinator: string;
  readonly progress: Progress | null;
  /** Whether memory converges, when, and with what pause. */
  readonly forecast: Forecast;
  readonly limits: Limits;
}

export interface Outcome {
  readonly kind: OutcomeKind;
  readonly runs: RunningSide;
  /** The guest where it is now; null when nobody, or an unknown side, runs it. */
  readonly guest: RunningGuest | null;
  /** Null exactly when the guest arrived. */
  readonly error: MigrationError | null;
  /** From the guest's STOP at the source to its RESUME at the destination, by QEMU's clocks, in ms; null if it did not move. */
  readonly downtimeMs: number | null;
  /** QEMU's own total time of the memory stream in ms; null if it did not end. */
  readonly qemuTotalMs: number | null;
  /** What the migration went without, and why: of the stream's options, of the graphics, of the guest's clock. */
  readonly dropped: readonly Dropped[];
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
  /** Has the guest run at the destination before its memory is there, as soon as QEMU can. Resolves to whether QEMU was told. */
  startPostcopy(): Promise<Tuned>;
  snapshot(): MigrationSnapshot;
}

/** What a handle is made over. */
export interface Parts {
  readonly migrationId: string;
  readonly source: SourceActor;
  readonly coordinator: ReturnType<typeof openCoordinator>;
  /** Null before Prepare. */
  destination(): DestinationActor | null;
  /** Tells of each change of the destination's state. */
  onChange(listener: () => void): void;
  /** The guest as it stands at that side; null when there is no QEMU. */
  guestAt(side: "source" | "destination"): Promise<RunningGuest | null>;
  /** QEMU's own times, as far as they are known. */
  times(): Promise<Pick<Outcome, "downtimeMs" | "qemuTotalMs">>;
  /** What the migration went without; nothing when that is not known any more. */
  dropped?(): readonly Dropped[];
  /** After the guest has arrived; what comes of it changes no outcome. */
  finalize(): Promise<void>;
}

/** Starts the source and the coordinator, and follows all to the outcome. */
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
    const { output } = await waitFor(coordinator, (item) => item.status !== "active");
    if (output === undefined) throw new Error("the coordinator ended without an outcome");
    const destination = parts.destination();
    if (output.kind !== "undecided") {
      await waitFor(source, (item) => item.status !== "active");
      if (destination !== null) await waitFor(destination, (item) => item.status !== "active");
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
    const obeyed = waitFor(
      coordinator,
      (item) =>
        item.status !== "active" ||
        item.matches({ performing: "aborted" }) ||
        item.matches("finishingCancelled") ||
        item.matches("confirmingCancelled"),
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
  const unheard = failure("unanswered", "confirm", "source", {
    message: "the source has not said how it ended",
  });
  return new MigrationError(kind, [first ?? unheard, ...rest], output.undone);
}
