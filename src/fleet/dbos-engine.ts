// A drain on DBOS Transact: each event is a step of a durable workflow in PostgreSQL. DBOS is passed in rather than imported,
// so that it is not installed for users who do not need it (docs/decisions/0018).

import { systemClock } from "../drivers/platform/clock.js";
import { sleep } from "../effects/sleep.js";
import type { DrainEvent } from "./drain.js";
import { isDrainEvent } from "./events.js";
import { type DrainEngine, EngineError } from "./run-drain.js";

/** The part of `DBOS`, as exported by @dbos-inc/dbos-sdk, that is used here. */
export interface DbosSteps {
  runStep<T>(run: () => Promise<T>, config: { readonly name: string }): Promise<T>;
}

/** Returns an engine for use inside a workflow. `nextToken` can be `databaseTokens`. */
export const dbosEngine = (dbos: DbosSteps, nextToken: () => Promise<number>): DrainEngine => ({
  next: async (happen) => {
    const event: unknown = await dbos.runStep(happen, { name: "event" });
    return recordedEvent(event);
  },
  nextToken,
});

/** Checks a recorded event. @throws EngineError when it was recorded by a version that this one cannot read. */
export function recordedEvent(event: unknown): DrainEvent {
  if (!isDrainEvent(event))
    throw new EngineError("the workflow contains an event that this version cannot read");
  return event;
}

/** A Pool or a connected Client of `pg`. */
export interface Database {
  query(text: string): Promise<{ readonly rows: readonly Readonly<Record<string, unknown>>[] }>;
}

/**
 * Returns a source of tokens that grow over all drains of a database, across processes. Retries while the server is
 * unavailable, as DBOS does.
 */
export function databaseTokens(database: Database): () => Promise<number> {
  const query = async (text: string) => {
    for (;;) {
      try {
        return await database.query(text);
      } catch (error) {
        if (!isAway(error)) throw error;
        await sleep(systemClock, awayMs);
      }
    }
  };
  let isMade = false;
  return async () => {
    if (!isMade)
      await query("create table if not exists switchover_token (id int primary key, token bigint)");
    isMade = true;
    const { rows } = await query(nextTokenSql);
    const token = Number(rows[0]?.["token"]);
    if (!Number.isSafeInteger(token)) throw new EngineError("the database did not return a valid token");
    return token;
  };
}

/** As in `file-engine.ts`: the server's time in ms, or the last token plus one. */
const nextTokenSql = `
  insert into switchover_token values (1, (extract(epoch from clock_timestamp()) * 1000)::bigint)
  on conflict (id) do update set token = greatest(switchover_token.token + 1, excluded.token)
  returning token`;

const awayMs = 200;

/** True if the server is unavailable: errors without a severity, and PostgreSQL's classes 08 (connection) and 57P (shutdown). */
const isAway = (error: unknown): boolean =>
  !(error instanceof Error && "severity" in error && "code" in error) || /^(08|57P)/.test(String(error.code));
