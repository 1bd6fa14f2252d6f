// Empties hosts, one event after the other: a move is planned, a move has ended, a person has paused it. The engine makes each
// event durable before anything follows from it, and gives whoever takes over the same events again: then the moves that are
// under way are asked for by their ids, which begins none twice.

import type { Clock } from "../effects/ports.js";
import { sleep } from "../effects/sleep.js";
import { messageOf } from "../protocol/effect-result.js";
import { idWithToken } from "../protocol/fencing-token.js";
import { Drain, type DrainEvent, type GuestStory, type Move, type MoveEnd } from "./drain.js";
import { type Placement, spread } from "./placement.js";

/** What a drain runs on: a log on disk, or a durable execution engine, where each event is a step. */
export interface DrainEngine {
  /**
   * The next event of the drain: the recorded one, or what `happen` gives, durable when this resolves.
   * @throws EngineError when another conducts the drain, or nothing can be recorded: nothing may be done any more.
   */
  next(happen: () => Promise<DrainEvent>): Promise<DrainEvent>;
  /** Larger than each before it, of every drain. */
  nextToken(): Promise<number>;
}

/** Where one drain is kept, opened by whoever conducts it. */
export interface OpenEngine {
  /** How many events there were when it was opened. */
  readonly known: number;
  /** @throws what `conducting` throws. */
  run<T>(conducting: (engine: DrainEngine) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export class EngineError extends Error {
  override readonly name = "EngineError";
}

/** Moves one guest. Called again with the same move it joins it, or tells how it ended. */
export interface Mover {
  /** Resolves when the migration has ended for certain. @throws Error when that cannot be known yet. */
  move(move: Move, signal: AbortSignal): Promise<{ readonly end: MoveEnd; readonly why: string }>;
  /** Has a move undone, if it still can be; `move` tells how it ended. */
  abort(move: Move): Promise<void>;
}

export interface ConductOptions {
  /** How it begins, unless the engine knows it already. */
  readonly begun: () => Promise<Extract<DrainEvent, { kind: "begun" }>>;
  readonly engine: DrainEngine;
  readonly mover: Mover;
  readonly clock: Clock;
  /** 18 hexadecimal digits that nobody can guess. */
  readonly random: () => string;
  readonly placement?: Placement;
  /** Told each event once it is durable, those of before too. */
  readonly onEvent?: (event: DrainEvent, drain: Drain) => void;
  /** Told each time that the end of a move cannot be known yet, and why: it is asked for again. */
  readonly onTrouble?: (move: Move, why: string) => void;
  /** How long after a question that was not answered a move is asked for again, in ms. */
  readonly againMs?: number;
}

export interface Conducted {
  /** How each guest's story ended. Rejects when the engine does. */
  readonly ended: Promise<readonly GuestStory[]>;
  /** No new move begins. */
  pause(): void;
  resume(): void;
  /** No new move begins, and what is under way is undone if it still can be. */
  cancel(): void;
  /** Goes away without a word, as in a crash: another may go on. */
  detach(): void;
}

type Command = "paused" | "resumed" | "cancelled";

export function conduct(options: ConductOptions): Conducted {
  const { engine, mover, clock, random, begun, placement = spread } = options;
  const { onEvent, onTrouble, againMs = 1_000 } = options;
  const leaving = new AbortController();
  const { signal } = leaving;
  const followed = new Set<number>();
  /** Of moves whose ends are not recorded yet. */
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

  /** Only where the engine knows no further: what was under way before is asked for again here. */
  const happens = async (drain: Drain): Promise<DrainEvent> => {
    for (const move of drain.underWay) {
      if (!followed.has(move.token)) void follow(move);
      if (drain.mode !== "cancelled" || aborted.has(move.token)) continue;
      aborted.add(move.token);
      // What becomes of it the move itself tells.
      mover.abort(move).catch(() => {});
    }
    for (;;) {
      // An engine that keeps what a step throws must not keep that: another goes on with this step.
      if (signal.aborted) return new Promise(() => {});
      const atMs = clock.now();
      // Each is offered until it is recorded: an engine that runs a step twice may have recorded another event.
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
    if (first.kind !== "begun") throw new EngineError("the drain's first event is not how it began");
    const drain = new Drain(first);
    onEvent?.(first, drain);
    while (drain.mode !== "closed") {
      const event = await engine.next(() => happens(drain));
      drain.apply(event);
      if (event.kind === commands[0]) commands.shift();
      // By another, before this one has heard of it.
      if (event.kind === "ended" && !ends.delete(event.token) && followed.has(event.token))
        recorded.add(event.token);
      onEvent?.(event, drain);
    }
    return drain.stories;
  };
  const left = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => {
      reject(new EngineError("nobody conducts this drain here any more"));
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
