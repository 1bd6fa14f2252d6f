// Starts the machine of one side, or resumes it after a crash: effects bound, states and notices recorded. The actor
// is handed out before it starts, so that it can be observed from its first state on.

import { type Actor, createActor } from "xstate";
import type { CoordinatorInput } from "../machines/coordinator/machine.js";
import type { DestinationInput } from "../machines/destination/machine.js";
import type { SourceInput, sourceMachine } from "../machines/source/machine.js";
import { fencedGuest, forecastOf } from "../machines/source/setup.js";
import { describeForecast } from "../protocol/convergence/forecast.js";
import type { Progress } from "../protocol/convergence/limits.js";
import { bindCoordinator, bindDestination, bindSource, type EffectInterceptor } from "./bind.js";
import { apart } from "./isolate-callback.js";
import type {
  Clock,
  DestinationGuest,
  DestinationPeer,
  Fence,
  Journal,
  OpenedRecord,
  SettlingPeer,
  SourceGuest,
  SourcePeer,
} from "./ports.js";
import { createRecorder } from "./recorder.js";
import { type Inspect, inspecting, type Observation, type Observe, watching } from "./trace.js";

/** The dependencies of a side beside its guest and its peers. */
export interface EngineContext {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly fence?: Fence | undefined;
  readonly around?: EffectInterceptor | undefined;
  /** Receives each record of the story at once, before it is durable, and every other observation. */
  readonly observe?: Observe | undefined;
  /** XState's own inspection of the machines and their effects. */
  readonly inspect?: Inspect | undefined;
}

/** A started side: its machine, and a function that waits until everything recorded so far is durable. */
export interface Opened<Actor> {
  readonly actor: Actor;
  readonly durable: () => Promise<void>;
}

/** `host`: the data by which the driver finds its QEMU again. */
export function openSource(
  surroundings: EngineContext,
  input: SourceInput,
  guest: SourceGuest,
  destination: SettlingPeer,
  host: unknown,
) {
  const effectContext = open(surroundings, { side: "source", input, host });
  const actor = createActor(bindSource(effectContext, guest, destination), {
    ...effectContext.actorOptions,
    input,
  });
  actor.on("*", effectContext.recorder.aside);
  onMonitorTraffic(surroundings, effectContext, guest, actor);
  watchProgress(surroundings, effectContext, actor);
  actor.subscribe({
    complete: () => {
      const { output, context } = actor.getSnapshot();
      const fenced = fencedGuest(context);
      // The effects of a source that left have already released it; for a stuck source the fence must keep its entry.
      if (fenced !== null && (output?.outcome === "stayed" || output?.outcome === "lost"))
        void effectContext.fence?.release(fenced);
    },
  });
  return { actor, durable: effectContext.recorder.durable };
}

export function openDestination(
  surroundings: EngineContext,
  input: DestinationInput,
  guest: DestinationGuest,
  host: unknown,
) {
  const effectContext = open(surroundings, { side: "destination", input, host });
  const actor = createActor(bindDestination(effectContext, guest), { ...effectContext.actorOptions, input });
  actor.on("*", effectContext.recorder.aside);
  onMonitorTraffic(surroundings, effectContext, guest, actor);
  return { actor, durable: effectContext.recorder.durable };
}

export function openCoordinator(
  surroundings: EngineContext,
  input: CoordinatorInput,
  source: SourcePeer,
  destination: DestinationPeer,
  host: unknown = null,
) {
  const effectContext = open(surroundings, { side: "coordinator", input, host });
  const actor = createActor(bindCoordinator(effectContext, source, destination), {
    ...effectContext.actorOptions,
    input,
  });
  actor.on("*", effectContext.recorder.aside);
  return actor;
}

function open(
  { journal, clock, fence, around, observe, inspect }: EngineContext,
  opened: Pick<OpenedRecord, "side" | "input" | "host">,
) {
  const { side, input } = opened;
  const { migrationId } = input.identity;
  const of = { migrationId, side };
  const isWoken = "woken" in input && input.woken !== undefined;
  if (isWoken) apart(() => observe?.({ kind: "woken", ...of, atMs: clock.now(), identity: input.identity }));
  const recorder = createRecorder({
    migrationId,
    side,
    journal,
    clock,
    onRecord: observe,
    // After a crash the journal already contains this record.
    opened: isWoken ? undefined : opened,
  });
  const actorOptions = {
    clock: { setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout },
    ...(inspect && { inspect: inspecting(inspect) }),
  };
  return {
    of,
    identity: input.identity,
    recorder,
    clock,
    fence,
    around,
    actorOptions,
    watch: observe && watching(observe, of, clock),
  };
}

type Of = { readonly of: Pick<Observation, "migrationId" | "side"> };

/** Subscribes until the machine has ended. */
function onMonitorTraffic(
  { observe }: EngineContext,
  { of }: Of,
  guest: Pick<SourceGuest, "onMonitorTraffic">,
  actor: { subscribe(observer: { complete(): void }): unknown },
): void {
  if (observe === undefined) return;
  const stop = guest.onMonitorTraffic?.((line) => observe({ kind: "line", ...of, ...line }));
  actor.subscribe({ complete: () => stop?.() });
}

function watchProgress(
  { observe, clock }: EngineContext,
  { of }: Of,
  actor: Actor<typeof sourceMachine>,
): void {
  if (observe === undefined) return;
  let last: Progress | null = null;
  actor.subscribe(({ context }) => {
    const { progress } = context;
    if (progress === null || progress === last) return;
    last = progress;
    const forecast = describeForecast(forecastOf(context));
    apart(() => observe({ kind: "progress", ...of, atMs: clock.now(), progress, forecast }));
  });
}
