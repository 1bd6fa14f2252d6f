// A drain on DBOS Transact: each event is a step of a durable workflow in PostgreSQL. It needs nothing of DBOS here but what it
// is given, so that nothing is installed for those who do not use it (docs/decisions/0018).

import { type DrainEngine, EngineError } from "./conduct.js";
import { isDrainEvent } from "./events.js";

/** Of `DBOS`, as @dbos-inc/dbos-sdk exports it. */
export interface DbosSteps {
  runStep<T>(run: () => Promise<T>, config: { readonly name: string }): Promise<T>;
}

/** Within a workflow. `nextToken`: such as `sequenceTokens`. */
export const dbosEngine = (dbos: DbosSteps, nextToken: () => Promise<number>): DrainEngine => ({
  next: async (happen) => {
    const event: unknown = await dbos.runStep(happen, { name: "event" });
    // It may have been recorded by another version.
    if (!isDrainEvent(event))
      throw new EngineError("the workflow holds an event that this version cannot read");
    return event;
  },
  nextToken,
});

/** Of `pg`: a Pool, or a Client that is connected. */
export interface Database {
  query(text: string): Promise<{ readonly rows: readonly Readonly<Record<string, unknown>>[] }>;
}

/** Tokens that grow over all drains of a database, whichever process takes them. */
export function sequenceTokens(database: Database): () => Promise<number> {
  let made: Promise<unknown> | undefined;
  return async () => {
    made ??= database.query("create sequence if not exists switchover_migration_token");
    await made;
    const { rows } = await database.query("select nextval('switchover_migration_token') as token");
    const token = Number(rows[0]?.["token"]);
    if (!Number.isSafeInteger(token)) throw new EngineError("the database has given no token");
    return token;
  };
}
