// A migration at one moment of its story: the state of each side, its pending calls, its failures. Computed entry by entry; each
// moment is an immutable value, so that the page can move back and forth.

import type { AnswerSeen, CallSeen } from "../../effects/trace.js";
import { topState } from "../../machines/shared/state-name.js";
import type { Progress } from "../../protocol/convergence/limits.js";
import type { Failure } from "../../protocol/failure.js";
import type { GuestWas, Identity } from "../../protocol/messages.js";
import type { Side } from "../../protocol/steps.js";
import type { Told } from "../../simulator/traced-world.js";

/** One entry of a story, real or simulated. */
export type Entry = Told;

export const sides: readonly Side[] = ["source", "coordinator", "destination"];

interface Visit {
  readonly times: number;
  readonly firstMs: number;
  /** Total time of all completed visits. */
  readonly totalMs: number;
}

export interface SideMoment {
  /** The name as it is recorded, such as `precopying(limits.applied, …)`. Empty before the first state. */
  readonly state: string;
  readonly event: string;
  readonly sinceMs: number;
  /** Visits by top-level state. */
  readonly visits: Readonly<Record<string, Visit>>;
  readonly underWay: Readonly<Record<number, CallSeen>>;
  readonly failures: readonly Failure[];
  readonly undone: readonly string[];
  /** The state in which the first failure was reported. */
  readonly failedIn: string | null;
}

export interface Moment {
  /** Number of entries so far. */
  readonly count: number;
  readonly firstMs: number;
  readonly atMs: number;
  readonly identity: Identity | null;
  readonly guestWas: GuestWas;
  readonly sides: Readonly<Record<Side, SideMoment | null>>;
  readonly progress: Progress | null;
  readonly forecast: string;
  readonly lastAnswer: AnswerSeen | null;
}

export const beforeAll: Moment = {
  count: 0,
  firstMs: 0,
  atMs: 0,
  identity: null,
  guestWas: "running",
  sides: { source: null, coordinator: null, destination: null },
  progress: null,
  forecast: "",
  lastAnswer: null,
};

const asleep: SideMoment = {
  state: "",
  event: "",
  sinceMs: 0,
  visits: {},
  underWay: {},
  failures: [],
  undone: [],
  failedIn: null,
};

export function after(moment: Moment, entry: Entry): Moment {
  const { side, atMs } = entry;
  const next: Moment = {
    ...moment,
    count: moment.count + 1,
    firstMs: moment.count === 0 ? atMs : moment.firstMs,
    atMs,
  };
  const at = (changed: SideMoment): Moment => ({ ...next, sides: { ...next.sides, [side]: changed } });
  const now = moment.sides[side] ?? asleep;
  switch (entry.kind) {
    case "opened":
      return { ...at({ ...now, sinceMs: atMs }), identity: entry.input.identity };
    case "woken":
      return { ...at({ ...now, sinceMs: atMs }), identity: entry.identity };
    case "state": {
      const guest = entry.learned.guest;
      const entered = at(inState(now, entry.state, entry.event, atMs, entry.because, entry.undone));
      return guest ? { ...entered, guestWas: guest.guestWas } : entered;
    }
    case "tombstone":
      return at(inState(now, "refused", "source.settleRequested", atMs, [], []));
    case "call":
      return at({ ...now, underWay: { ...now.underWay, [entry.call]: entry } });
    case "answer": {
      const { [entry.call]: _, ...underWay } = now.underWay;
      return { ...at({ ...now, underWay }), lastAnswer: entry };
    }
    case "progress":
      return { ...next, progress: entry.progress, forecast: entry.forecast };
    case "aside":
      return entry.aside.type === "forecast" ? { ...next, forecast: entry.aside.says } : next;
    case "line":
    case "move":
      return next;
  }
}

function inState(
  now: SideMoment,
  state: string,
  event: string,
  atMs: number,
  because: readonly Failure[],
  undone: readonly string[],
): SideMoment {
  const [before, top] = [topState(now.state), topState(state)];
  const changed = {
    ...now,
    state,
    event,
    failures: because.length === 0 ? now.failures : [...now.failures, ...because],
    undone: undone.length === 0 ? now.undone : [...now.undone, ...undone],
    failedIn: now.failedIn ?? (because.length === 0 ? null : before),
  };
  if (before === top) return changed;
  const visits = { ...now.visits };
  const left = visits[before];
  if (left !== undefined) visits[before] = { ...left, totalMs: left.totalMs + atMs - now.sinceMs };
  const { times, firstMs, totalMs } = visits[top] ?? { times: 0, firstMs: atMs, totalMs: 0 };
  visits[top] = { times: times + 1, firstMs, totalMs };
  return { ...changed, visits, sinceMs: atMs };
}

const every = 256;

/** All moments of a story; each is computed in at most 256 steps from a stored one. */
export class Timeline {
  readonly entries: Entry[] = [];
  readonly #kept: Moment[] = [beforeAll];
  #last = beforeAll;

  constructor(entries: Iterable<Entry> = []) {
    for (const entry of entries) this.push(entry);
  }

  push(entry: Entry): void {
    this.entries.push(entry);
    this.#last = after(this.#last, entry);
    if (this.#last.count % every === 0) this.#kept.push(this.#last);
  }

  /** Returns the moment after the first `count` entries. */
  at(count: number): Moment {
    const wanted = Math.max(0, Math.min(count, this.entries.length));
    if (wanted === this.entries.length) return this.#last;
    let moment = this.#kept[Math.floor(wanted / every)] ?? beforeAll;
    for (const entry of this.entries.slice(moment.count, wanted)) moment = after(moment, entry);
    return moment;
  }
}
