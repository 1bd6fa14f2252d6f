// A structured log of migrations: each state of each side, each failure, each aside, as a line with the migration's id, which
// is its trace's id too. By pino, in its own form.

import { type DestinationStream, type Logger, pino } from "pino";
import type { Observe } from "../effects/trace.js";
import { topState } from "../machines/shared/state-name.js";
import { isFinal } from "../machines/shared/states.js";
import { describeFailure } from "../protocol/failure.js";
import { safeJson } from "../protocol/printable.js";
import { traceIdOf } from "./traces.js";

export interface Log {
  readonly observe: Observe;
  /** What is no migration's: a sentence for a person. */
  say(sentence: string): void;
  complain(sentence: string): void;
}

/** `level` as pino's; states inside of others are told at `debug`. Default: to stdout. */
export function createLog(level: string, to?: DestinationStream): Log {
  // What others have said is safe to print, and reads as it was said.
  const hooks = { streamWrite: safeJson };
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, hooks };
  const logger: Logger = to === undefined ? pino(options) : pino(options, to);
  /** Of each side that is under way. */
  const known = new Map<string, { readonly domain: string; top: string }>();
  return {
    say: (sentence) => logger.info(sentence),
    complain: (sentence) => logger.warn(sentence),
    observe: (it) => {
      const { migrationId, side } = it;
      const key = `${side} ${migrationId}`;
      if (it.kind === "opened") known.set(key, { domain: it.input.identity.name, top: "" });
      if (it.kind === "woken") known.set(key, { domain: it.identity.name, top: "" });
      const now = known.get(key) ?? { domain: undefined, top: "" };
      const about = { migrationId, trace_id: traceIdOf(migrationId), domain: now.domain, side };
      switch (it.kind) {
        case "opened":
          logger.info(about, `the ${side} begins`);
          break;
        case "state": {
          const top = topState(it.state);
          const isInner = now.top === top;
          now.top = top;
          if (isFinal(side, top)) known.delete(key);
          const line = { ...about, state: it.state, event: it.event };
          if (isInner) logger.debug(line, `the ${side} is ${it.state}`);
          else logger.info(line, `the ${side} is ${it.state}`);
          for (const failure of it.because) logger.warn({ ...about, failure }, describeFailure(failure));
          for (const undone of it.undone) logger.info({ ...about, undone }, `undone: ${undone}`);
          break;
        }
        case "woken":
          logger.info(about, `the ${side} is taken up again`);
          break;
        case "aside":
          logger.info({ ...about, aside: it.aside }, `aside: ${it.aside.type}`);
          break;
        case "tombstone":
          logger.warn(about, "asked about a migration that had not come here: refused for good");
          break;
        case "answer":
          if (it.answer === "unknown")
            logger.warn({ ...about, call: it.place }, `${it.place} has not been answered: ${it.says}`);
          break;
        case "call":
        case "line":
        case "progress":
          break;
      }
    },
  };
}
