// Empties hosts: begins the moves that the drain wants, hears how they end, and makes each decision durable before it acts on
// it. Whoever conducted before may have died in between: the moves that it had planned are asked for again by their ids, which
// begins none twice.

import type { Clock } from "../effects/ports.js";
import { messageOf } from "../protocol/answer.js";
import { idWithToken } from "../protocol/migration-token.js";
import { Drain, type DrainEvent, type GuestStory, type Mode, type Move, type MoveEnd } from "./drain.js";
import { type Placement, spread } from "./placement.js";

/** Where the events of a drain are kept, in order; one conductor at a time can add to it. */
export interface DrainLog {
  /** What has happened so far; empty for a new drain. */
  events(): Promise<readonly DrainEvent[]>;
  /** Durable when it resolves. @throws Error when another has taken the drain over: then nothing may be done any more. */
  append(event: DrainEvent): Promise<void>;
  /** Larger than all before it, of every drain. Durable when it resolves. */
  nextToken(): Promise<number>;
}

/** Moves one guest. Called again with the same move it joins it, or tells how it ended. */
export interface Mover {
  /** Resolves when the migration has ended for certain. @throws Error when that cannot be known yet. */
  move(move: Move, signal: AbortSignal): Promise<{ readonly end: MoveEnd; readonly why: string }>;
  /** Has a move undone, if it still can be; `move` tells how it ended. */
  abort(move: Move): Promise<void>;
}

export interface ConductOptions {
  readonly log: DrainLog;
  readonly mover: Mover;
  readonly clock: Clock;
  /** 18 hexadecimal digits that nobody can guess. */
  readonly random: () => string;
  readonly placement?: Placement;
  /** Told each event once it is durable. */
  readonly onEvent?: (event: DrainEvent) => void;
  /** How long after a move whose end is not known it is asked for again, in ms. */
  readonly againMs?: number;
}

export interface DrainReport {
  readonly mode: Mode;
  readonly guests: readonly GuestStory[];
}

export interface Conducted {
  /** When nothing is under way and nothing can be begun any more. Rejects when the log does. */
  readonly ended: Promise<DrainReport>;
  /** No new move begins. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** No new move begins, and what is under way is undone if it still can be. */
  cancel(): Promise<void>;
  /** Goes away without a word, as after a crash: another may take over. */
  leave(): void;
  readonly drain: Drain;
}

/** Goes on with what the log holds, which is at least how it began. @throws Error when the log is empty. */
export async function conduct(options: ConductOptions): Promise<Conducted> {
  const { log, mover, clock, random, placement = spread, onEvent, againMs = 1_000 } = options;
  const [first, ...rest] = await log.events();
  if (first?.kind !== "begun") throw new Error("this drain has not been begun");
  const drain = new Drain(first);
  for (const event of rest) drain.apply(event);

  const leaving = new AbortController();
  const { signal } = leaving;
  let resolve: (report: DrainReport) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const ended = new Promise<DrainReport>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  ended.catch(() => {});
  const fail = (error: unknown) => {
    leaving.abort();
    reject(error);
  };

  const happened = async (event: DrainEvent): Promise<void> => {
    await log.append(event);
    if (signal.aborted) return;
    drain.apply(event);
    onEvent?.(event);
  };
  const follow = async (move: Move): Promise<void> => {
    while (!signal.aborted) {
      try {
        const { end, why } = await mover.move(move, signal);
        if (signal.aborted) return;
        await happened({ kind: "ended", atMs: clock.now(), token: move.token, end, why });
        wake();
        return;
      } catch (error) {
        if (error instanceof LogError) return fail(error);
        // Not known yet: the host is away, or the call was lost.
        await new Promise<void>((later) => clock.setTimeout(later, againMs));
      }
    }
  };

  // One turn at a time: what is wanted rests on what has been planned.
  let turn: Promise<void> = Promise.resolve();
  const wake = () => {
    turn = turn.then(go).catch(fail);
  };
  const go = async (): Promise<void> => {
    if (signal.aborted || drain.mode === "ended") return;
    for (const wanted of drain.wanted(clock.now(), placement)) {
      const token = await log.nextToken();
      if (signal.aborted) return;
      const move: Move = { ...wanted, token, migrationId: idWithToken(token, random()) };
      await happened({ kind: "planned", atMs: clock.now(), move });
      if (signal.aborted) return;
      void follow(move);
    }
    if (!drain.hasEnded(clock.now(), placement)) return;
    drain.giveUp(clock.now());
    resolve({ mode: drain.mode, guests: drain.stories });
  };
  const said = async (kind: "paused" | "resumed" | "cancelled") => {
    turn = turn.then(() => happened({ kind, atMs: clock.now() })).catch(fail);
    await turn;
    wake();
  };

  for (const move of drain.underWay) void follow(move);
  wake();
  return {
    ended,
    drain,
    pause: () => said("paused"),
    resume: () => said("resumed"),
    cancel: async () => {
      await said("cancelled");
      await Promise.all(
        drain.underWay.map((it) => mover.abort(it).catch((error: unknown) => void messageOf(error))),
      );
    },
    leave: () => leaving.abort(),
  };
}

/** The drain's log refuses: another conducts it, or it cannot be written. */
export class LogError extends Error {
  override readonly name = "LogError";
}
