// Plans a drain for a dry run, with each migration's duration estimated from its memory and dirty rate.

import { type Forecast, forecastBefore } from "../protocol/convergence/forecast.js";
import { defaultLimits } from "../protocol/convergence/limits.js";
import { Drain, type DrainEvent, type GuestStory, type Move } from "./drain.js";
import { type Placement, spread } from "./placement.js";

export interface PlannedMove extends Pick<Move, "guest" | "from" | "to"> {
  readonly name: string;
  readonly beginsMs: number;
  readonly takesMs: number;
  /** The forecast of the memory stream from the guest's dirty rate. */
  readonly forecast: Forecast;
}

export interface Plan {
  readonly moves: readonly PlannedMove[];
  /** The guests that would stay, each with the reason. */
  readonly stay: readonly GuestStory[];
  readonly endsMs: number;
}

export interface PlanOptions {
  readonly placement?: Placement;
  /** Bandwidth of one migration, in bytes per second. */
  readonly bytesPerSecond: number;
  /** Measured dirty rates by guest uuid, in bytes per second. */
  readonly dirty?: ReadonlyMap<string, number>;
  readonly maxDowntimeMs?: number;
  /** Duration of a migration besides the memory transfer, in ms. */
  readonly besideMs?: number;
}

export function plan(begun: Extract<DrainEvent, { kind: "begun" }>, options: PlanOptions): Plan {
  const { placement = spread, bytesPerSecond, besideMs = 500 } = options;
  const { dirty, maxDowntimeMs = defaultLimits.maxDowntimeMs } = options;
  const drain = new Drain(begun);
  const guests = new Map(begun.fleet.guests.map((guest) => [guest.uuid, guest]));
  const moves: PlannedMove[] = [];
  /** Sorted by end time. */
  const underWay: { readonly move: Move; readonly endsMs: number }[] = [];
  let nowMs = 0;
  let token = 0;
  for (;;) {
    for (const wanted of drain.wanted(begun.atMs + nowMs, placement)) {
      token += 1;
      const move: Move = { ...wanted, token, migrationId: "" };
      const guest = guests.get(move.guest);
      const memoryBytes = guest?.memoryBytes ?? 0;
      const dirtyBytesPerSecond = dirty?.get(move.guest);
      const stream = { memoryBytes, bandwidthBytesPerSecond: bytesPerSecond, maxDowntimeMs };
      const forecast: Forecast =
        dirtyBytesPerSecond === undefined
          ? { kind: "unknown", why: "the dirty rate was not measured" }
          : forecastBefore({ ...stream, dirtyBytesPerSecond });
      const memoryMs =
        forecast.kind === "converges" ? forecast.remainingMs : (memoryBytes / bytesPerSecond) * 1000;
      const takesMs = Math.round(memoryMs) + besideMs;
      drain.apply({ kind: "planned", atMs: nowMs, move });
      underWay.push({ move, endsMs: nowMs + takesMs });
      const { guest: uuid, from, to } = move;
      moves.push({ guest: uuid, from, to, name: guest?.name ?? uuid, beginsMs: nowMs, takesMs, forecast });
    }
    underWay.sort((a, b) => a.endsMs - b.endsMs);
    const next = underWay.shift();
    if (next === undefined) break;
    nowMs = next.endsMs;
    drain.apply({ kind: "ended", atMs: nowMs, token: next.move.token, end: "arrived", why: "" });
  }
  drain.apply({ kind: "closed", atMs: begun.atMs + nowMs });
  return { moves, stay: drain.stories.filter((story) => story.status !== "arrived"), endsMs: nowMs };
}
