// A structured log of migrations in pino's format: one line per state of each side, per failure and per notice, each with the
// migration id, which is also the trace id.

import { type DestinationStream, type Logger, pino } from "pino";
import type { Observe } from "../effects/trace.js";
import { topState } from "../machines/shared/state-name.js";
import { isFinal } from "../machines/shared/states.js";
import { describeFailure } from "../protocol/failure.js";
import { safeJson } from "../protocol/printable.js";
import { traceIdOf } from "./traces.js";

export interface Log {
  readonly observe: Observe;
  /** Logs a message that does not belong to a migration. */
  say(sentence: string): void;
  warn(sentence: string): void;
}

/** `level` is pino's; nested states are logged at `debug`. Default destination: stdout. */
export function createLog(level: string, to?: DestinationStream): Log {
  // Escapes control characters in text from other programs without changing the parsed JSON.
  const hooks = { streamWrite: safeJson };
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, hooks };
  const logger: Logger = to === undefined ? pino(options) : pino(options, to);
  /** Sides under way, with their domain and top-level state. */
  const known = new Map<string, { readonly domain: string; top: string }>();
  return {
    say: (sentence) => logger.info(sentence),
    warn: (sentence) => logger.warn(sentence),
    observe: (seen) => {
      const { migrationId, side } = seen;
      const key = `${side} ${migrationId}`;
      if (seen.kind === "opened") known.set(key, { domain: seen.input.identity.name, top: "" });
      if (seen.kind === "woken") known.set(key, { domain: seen.identity.name, top: "" });
      const now = known.get(key) ?? { domain: undefined, top: "" };
      const about = { migrationId, trace_id: traceIdOf(migrationId), domain: now.domain, side };
      switch (seen.kind) {
        case "opened":
          logger.info(about, `the ${side} begins`);
          break;
        case "state": {
          const top = topState(seen.state);
          const isInner = now.top === top;
          now.top = top;
          if (isFinal(side, top)) known.delete(key);
          const line = { ...about, state: seen.state, event: seen.event };
          if (isInner) logger.debug(line, `the ${side} is ${seen.state}`);
          else logger.info(line, `the ${side} is ${seen.state}`);
          for (const failure of seen.because) logger.warn({ ...about, failure }, describeFailure(failure));
          for (const undone of seen.undone) logger.info({ ...about, undone }, `undone: ${undone}`);
          break;
        }
        case "woken":
          logger.info(about, `the ${side} is resumed from its journal`);
          break;
        case "aside":
          logger.info({ ...about, aside: seen.aside }, `aside: ${seen.aside.type}`);
          break;
        case "tombstone":
          logger.warn(about, "queried about a migration that had not arrived here: refused for good");
          break;
        case "answer":
          if (seen.answer === "unknown")
            logger.warn({ ...about, call: seen.place }, `${seen.place} was not answered: ${seen.says}`);
          break;
        case "call":
        case "line":
        case "progress":
          break;
      }
    },
  };
}
