// The retry loop of most waiting states: an effect is carried out, and repeated after a backoff, until one of its
// answers leads out of the loop. Upholds G5: every effect has a deadline, so every round ends.

import type { Answer } from "../../protocol/effect-result.js";

export interface Round<Context, Output> {
  readonly context: Context;
  readonly event: { readonly output: Answer<Output> };
}

export interface Action<Context, Output> {
  readonly type: string;
  readonly params?: object | string | ((round: Round<Context, Output>) => unknown);
}

/** An exit from the loop, as a transition of XState. */
export interface Branch<Context, Output> {
  readonly guard?: string | { readonly type: string } | ((round: Round<Context, Output>) => boolean);
  readonly target: string;
  readonly actions?: string | Action<Context, Output>;
}

export interface Options<Context, Input, Name, Initial> {
  /** Input of the effect. */
  readonly input?: (args: { readonly context: Context }) => Input;
  /** The name of the state that runs the effect. */
  readonly as: Name;
  /** Default: the effect runs at once. */
  readonly initial?: Initial;
}

/**
 * Returns the function that builds the retry loops of one machine. A loop counts its attempts in the context; the
 * effect is repeated after a backoff when none of the branches matches its answer. The caller may add states to those
 * of the loop, and targets them by name; `waiting` is the state between two attempts.
 */
export const retryingIn =
  <Context, Output = unknown>() =>
  <
    const Effect extends string,
    const Branches extends readonly Branch<Context, Output>[],
    const Name extends "asking" | "trying",
    Input = undefined,
    const Initial extends string = Name,
  >(
    effect: Effect,
    branches: Branches,
    { input, as, initial }: Options<Context, Input, Name, Initial>,
  ) => {
    const attempt = {
      entry: "countAttempt",
      invoke: {
        src: effect,
        id: effect,
        input,
        onDone: [...branches, { target: "waiting" }],
      },
    } as const;
    return {
      entry: "firstAttempt",
      initial: initial ?? as,
      states: { [as]: attempt, waiting: { after: { backoff: as } } },
    } as const;
  };
