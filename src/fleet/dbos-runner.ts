// Runs drains as workflows of a DBOS instance in this process, which requires only PostgreSQL and two packages.

import { messageOf } from "../protocol/effect-result.js";
import { databaseTokens, dbosEngine, recordedEvent } from "./dbos-engine.js";
import { type DrainEngine, EngineError, type OpenEngine } from "./run-drain.js";

/** A drain may be resumed any number of times. */
const maxRecoveryAttempts = 1_000_000;

/**
 * Opens the drain in the PostgreSQL database of that URL. The executor and the application version carry the drain's id, so
 * that DBOS hands the workflow only to the process that opens this drain next. Recorded events are validated, so the version
 * of this package does not matter. `warn` receives DBOS's warnings, such as an unavailable server.
 * @throws Error when the packages are not installed, or the database cannot be reached.
 */
export async function openDbosEngine(
  url: string,
  drainId: string,
  warn: (sentence: string) => void = () => {},
): Promise<OpenEngine> {
  const [{ DBOS }, { default: pg }] = await packages();
  const pool = new pg.Pool({ connectionString: url });
  // Errors of idle connections are ignored; the next query opens another connection.
  pool.on("error", () => {});
  DBOS.setConfig({
    name: "switchover",
    systemDatabaseUrl: url,
    executorID: `drain ${drainId}`,
    applicationVersion: `drain ${drainId}`,
    logger: {
      info: () => {},
      debug: () => {},
      warn: tellFirstLine(warn),
      error: tellFirstLine(warn),
    },
  });
  let begin: (work: (engine: DrainEngine) => Promise<void>) => void = () => {};
  const work = new Promise<(engine: DrainEngine) => Promise<void>>((resolve) => {
    begin = resolve;
  });
  const tokens = databaseTokens(pool);
  const workflow = DBOS.registerWorkflow(async () => (await work)(dbosEngine(DBOS, tokens)), {
    name: "drain",
    maxRecoveryAttempts,
  });
  const close = async () => {
    await DBOS.shutdown();
    await pool.end();
  };
  try {
    await pool.query("select 1");
    await DBOS.launch();
    const status = (await DBOS.getWorkflowStatus(drainId))?.status;
    const recorded = status === undefined ? [] : ((await DBOS.listWorkflowSteps(drainId)) ?? []);
    return {
      known: recorded.length,
      run: async <T>(conducting: (engine: DrainEngine) => Promise<T>) => {
        // The drain has ended: its events are replayed.
        if (status === "SUCCESS") return conducting(replayed(recorded.map((stepInfo) => stepInfo.output)));
        if (status !== undefined && status !== "PENDING" && status !== "ENQUEUED")
          throw new EngineError(`the drain's DBOS workflow is ${status}; inspect it with DBOS's tools`);
        let isOver = false;
        const conducted = new Promise<T>((resolve, reject) => {
          begin(async (engine) => {
            const running = conducting(engine);
            running.then(resolve, reject);
            // Detaching must not end the workflow, because another process resumes it.
            await running.catch(() => new Promise(() => {}));
            isOver = true;
          });
        });
        conducted.catch(() => {});
        if (status === undefined) await DBOS.startWorkflow(workflow, { workflowID: drainId })();
        await Promise.race([
          DBOS.retrieveWorkflow(drainId).getResult(),
          conducted.then(() => new Promise(() => {})),
        ]);
        if (!isOver) throw new EngineError("another process has completed this drain");
        return conducted;
      },
      close,
    };
  } catch (error) {
    await close().catch(() => {});
    throw new Error(`the drain's database cannot be used: ${messageOf(error)}`, { cause: error });
  }
}

/** Reports the first line of a DBOS error; DBOS recovers by itself when its server is back. */
const tellFirstLine = (warn: (sentence: string) => void) => (what: unknown) => {
  const [first = ""] = (what instanceof Error ? what.message : String(what)).split("\n");
  warn(`DBOS: ${first}`);
};

async function packages() {
  try {
    return await Promise.all([import("@dbos-inc/dbos-sdk"), import("pg")]);
  } catch (error) {
    throw new Error(
      `draining on DBOS requires two more packages; run: npm install @dbos-inc/dbos-sdk pg (${messageOf(error)})`,
      { cause: error },
    );
  }
}

function replayed(outputs: readonly unknown[]): DrainEngine {
  let at = 0;
  return {
    next: async () => {
      const event = outputs[at];
      at += 1;
      return recordedEvent(event);
    },
    nextToken: () => Promise.reject(new EngineError("the drain has ended")),
  };
}
