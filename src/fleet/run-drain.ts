// Runs a drain, one event after another: a move is planned, a move has ended, an operator has suspended the drain. The engine
// makes each event durable before it takes effect, and returns the same events to a process that resumes the drain. That
// process then requests the moves under way by their ids, which begins none of them twice.

import type { Clock } from "../effects/ports.js";
import { sleep } from "../effects/sleep.js";
import { messageOf } from "../protocol/effect-result.js";
import { idWithToken } from "../protocol/fencing-token.js";
import { Drain, type DrainEvent, type GuestStory, type Move, type MoveEnd } from "./drain.js";
import { type Placement, spread } from "./placement.js";

/** The storage of a drain: a log on disk, or a durable execution engine with a step per event. */
export interface DrainEngine {
  /**
   * Returns the next event of the drain: the recorded one, or the result of `happen`, which is durable when this resolves.
   * @throws EngineError when another process runs the drain, or the event cannot be recorded. The caller must stop then.
   */
  next(happen: () => Promise<DrainEvent>): Promise<DrainEvent>;
  /** Returns a token that is larger than all tokens before it, of any drain. */
  nextToken(): Promise<number>;
}

/** The opened storage of one drain. */
export interface OpenEngine {
  /** Number of recorded events at opening. */
  readonly known: number;
  /** @throws what `conducting` throws. */
  run<T>(conducting: (engine: DrainEngine) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export class EngineError extends Error {
  override readonly name = "EngineError";
}

/** Migrates one guest. A repeated call with the same move joins the migration or returns its result. */
export interface Mover {
  /** Resolves when the migration has certainly ended. @throws Error while the result is not known. */
  move(move: Move, signal: AbortSignal): Promise<{ readonly end: MoveEnd; readonly why: string }>;
  /** Requests the cancellation of a move, where still possible; `move` returns its result. */
  abort(move: Move): Promise<void>;
}

export interface ConductOptions {
  /** Returns the first event, unless the engine has recorded it already. */
  readonly begun: () => Promise<Extract<DrainEvent, { kind: "begun" }>>;
  readonly engine: DrainEngine;
  readonly mover: Mover;
  readonly clock: Clock;
  /** Returns 18 unpredictable hexadecimal digits. */
  readonly random: () => string;
  readonly placement?: Placement;
  /** Called with each event when it is durable, including those recorded before. */
  readonly onEvent?: (event: DrainEvent, drain: Drain) => void;
  /** Called with the reason each time that a move's result is not known yet, before the request is repeated. */
  readonly onTrouble?: (move: Move, why: string) => void;
  /** Interval before an unanswered request is repeated, in ms. */
  readonly againMs?: number;
}

export interface Conducted {
  /** Resolves to the result per guest. Rejects when the engine does. */
  readonly ended: Promise<readonly GuestStory[]>;
  /** Suspends the drain: no new move begins. */
  pause(): void;
  resume(): void;
  /** Cancels the drain: no new move begins, and those under way are cancelled where still possible. */
  cancel(): void;
  /** Detaches without recording anything, as a crash would; another process may resume the drain. */
  detach(): void;
}

type Command = "paused" | "resumed" | "cancelled";

export function conduct(options: ConductOptions): Conducted {
  const { engine, mover, clock, random, begun, placement = spread } = options;
  const { onEvent, onTrouble, againMs = 1_000 } = options;
  const leaving = new AbortController();
  const { signal } = leaving;
  const followed = new Set<number>();
  /** Results of moves that are not recorded yet, by token. */
  const ends = new Map<number, Extract<DrainEvent, { kind: "ended" }>>();
  const recorded = new Set<number>();
  const aborted = new Set<number>();
  const commands: Command[] = [];
  let wake = () => {};

  const follow = async (move: Move): Promise<void> => {
    followed.add(move.token);
    while (!signal.aborted) {
      try {
        const { end, why } = await mover.move(move, signal);
        const { token } = move;
        if (recorded.has(token)) recorded.delete(token);
        else ends.set(token, { kind: "ended", atMs: clock.now(), token, end, why });
        wake();
        return;
      } catch (error) {
        if (!signal.aborted) onTrouble?.(move, messageOf(error));
        await sleep(clock, againMs);
      }
    }
  };

  /** Produces the next event after the recorded ones; first it requests the moves that were already under way again. */
  const happens = async (drain: Drain): Promise<DrainEvent> => {
    for (const move of drain.underWay) {
      if (!followed.has(move.token)) void follow(move);
      if (drain.mode !== "cancelled" || aborted.has(move.token)) continue;
      aborted.add(move.token);
      // The move itself reports its result.
      mover.abort(move).catch(() => {});
    }
    for (;;) {
      // Some engines record exceptions of a step. A detached process must not throw, because another resumes at this step.
      if (signal.aborted) return new Promise(() => {});
      const atMs = clock.now();
      // Each is returned until it is recorded, because an engine that runs a step twice may have recorded another event.
      const [command] = commands;
      if (command !== undefined) return { kind: command, atMs };
      const [end] = ends.values();
      if (end !== undefined) return end;
      const [wanted] = drain.wanted(atMs, placement, 1);
      if (wanted !== undefined) {
        const token = await engine.nextToken();
        return {
          kind: "planned",
          atMs,
          move: { ...wanted, token, migrationId: idWithToken(token, random()) },
        };
      }
      if (drain.underWay.length === 0 && drain.mode !== "paused") return { kind: "closed", atMs };
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };

  const run = async (): Promise<readonly GuestStory[]> => {
    const first = await engine.next(begun);
    if (first.kind !== "begun") throw new EngineError("the drain's first event is not of kind begun");
    const drain = new Drain(first);
    onEvent?.(first, drain);
    while (drain.mode !== "closed") {
      const event = await engine.next(() => happens(drain));
      drain.apply(event);
      if (event.kind === commands[0]) commands.shift();
      // Another process may have recorded the end before this one received it.
      if (event.kind === "ended" && !ends.delete(event.token) && followed.has(event.token))
        recorded.add(event.token);
      onEvent?.(event, drain);
    }
    return drain.stories;
  };
  const left = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => {
      reject(new EngineError("this process has detached from the drain"));
    });
  });
  const ended = Promise.race([run(), left]).finally(() => leaving.abort());
  ended.catch(() => {});
  const say = (command: Command) => {
    commands.push(command);
    wake();
  };
  return {
    ended,
    pause: () => say("paused"),
    resume: () => say("resumed"),
    cancel: () => say("cancelled"),
    detach: () => {
      leaving.abort();
      wake();
    },
  };
}
