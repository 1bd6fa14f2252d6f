// A drain on DBOS Transact: each event is a step of a durable workflow in PostgreSQL. It needs nothing of DBOS here but what it
// is given, so that nothing is installed for those who do not use it (docs/decisions/0018).

import { systemClock } from "../drivers/platform/clock.js";
import { sleep } from "../effects/sleep.js";
import type { DrainEvent } from "./drain.js";
import { isDrainEvent } from "./events.js";
import { type DrainEngine, EngineError } from "./run-drain.js";

/** Of `DBOS`, as @dbos-inc/dbos-sdk exports it. */
export interface DbosSteps {
  runStep<T>(run: () => Promise<T>, config: { readonly name: string }): Promise<T>;
}

/** Within a workflow. `nextToken`: such as `databaseTokens`. */
export const dbosEngine = (dbos: DbosSteps, nextToken: () => Promise<number>): DrainEngine => ({
  next: async (happen) => {
    const event: unknown = await dbos.runStep(happen, { name: "event" });
    return recordedEvent(event);
  },
  nextToken,
});

/** It may have been recorded by another version. @throws EngineError when this one cannot read it. */
export function recordedEvent(event: unknown): DrainEvent {
  if (!isDrainEvent(event))
    throw new EngineError("the workflow holds an event that this version cannot read");
  return event;
}

/** Of `pg`: a Pool, or a Client that is connected. */
export interface Database {
  query(text: string): Promise<{ readonly rows: readonly Readonly<Record<string, unknown>>[] }>;
}

/**
 * Tokens that grow over all drains of a database, whichever process takes them. A server that is away is waited for, as DBOS
 * does itself.
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
    if (!Number.isSafeInteger(token)) throw new EngineError("the database has given no token");
    return token;
  };
}

/** As `file-engine.ts` has them: the server's time in ms, or one more than the last. */
const nextTokenSql = `
  insert into switchover_token values (1, (extract(epoch from clock_timestamp()) * 1000)::bigint)
  on conflict (id) do update set token = greatest(switchover_token.token + 1, excluded.token)
  returning token`;

const awayMs = 200;

/** PostgreSQL's own refusals have a severity; of those, it is away in the classes 08 (connection) and 57P (shutdown). */
const isAway = (error: unknown): boolean =>
  !(error instanceof Error && "severity" in error && "code" in error) || /^(08|57P)/.test(String(error.code));
