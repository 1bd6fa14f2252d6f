// Drains as workflows of a DBOS of this process's own: whoever conducts needs PostgreSQL and the two packages, and nothing else.

import { messageOf } from "../protocol/effect-result.js";
import { databaseTokens, dbosEngine, recordedEvent } from "./dbos-engine.js";
import { type DrainEngine, EngineError, type OpenEngine } from "./run-drain.js";

/** A drain is taken up as often as it has to be. */
const maxRecoveryAttempts = 1_000_000;

/**
 * Opens the drain in the PostgreSQL of that URL. The executor and the application's version bear the drain's id: so DBOS
 * gives its workflow back to whoever opens it next, and to nobody else. What is read is checked, so the version of this
 * package does not matter.
 * `complain`: what DBOS has to complain of meanwhile, such as a server that is away.
 * @throws Error when the packages are not installed, or the database cannot be reached.
 */
export async function openDbosEngine(
  url: string,
  drainId: string,
  warn: (sentence: string) => void = () => {},
): Promise<OpenEngine> {
  const [{ DBOS }, { default: pg }] = await packages();
  const pool = new pg.Pool({ connectionString: url });
  // Of a connection that nobody uses just now; the next question makes another.
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
        // It has ended: what it did is told once more.
        if (status === "SUCCESS") return conducting(replayed(recorded.map((stepInfo) => stepInfo.output)));
        if (status !== undefined && status !== "PENDING" && status !== "ENQUEUED")
          throw new EngineError(`the workflow is ${status}; DBOS's own tools can say why`);
        let isOver = false;
        const conducted = new Promise<T>((resolve, reject) => {
          begin(async (engine) => {
            const running = conducting(engine);
            running.then(resolve, reject);
            // Whoever leaves does not end it: somebody goes on with it.
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
        if (!isOver) throw new EngineError("another has conducted this drain to its end");
        return conducted;
      },
      close,
    };
  } catch (error) {
    await close().catch(() => {});
    throw new Error(`the engine's database cannot be used: ${messageOf(error)}`, { cause: error });
  }
}

/** Of DBOS's own complaints; it goes on by itself when its server is there again. */
const tellFirstLine = (warn: (sentence: string) => void) => (what: unknown) => {
  const [first = ""] = (what instanceof Error ? what.message : String(what)).split("\n");
  warn(`the engine: ${first}`);
};

async function packages() {
  try {
    return await Promise.all([import("@dbos-inc/dbos-sdk"), import("pg")]);
  } catch (error) {
    throw new Error(
      `draining on DBOS needs two packages more: npm install @dbos-inc/dbos-sdk pg (${messageOf(error)})`,
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
