// A worker that drains hosts on DBOS, as a process that can be killed: begins the drain of that id, or takes it over.

import { randomBytes } from "node:crypto";
import { DBOS } from "@dbos-inc/dbos-sdk";
import pg from "pg";
import { systemClock } from "../../src/drivers/system.js";
import { conduct } from "../../src/fleet/conduct.js";
import { dbosEngine, sequenceTokens } from "../../src/fleet/dbos-engine.js";
import { defaultDrainLimits } from "../../src/fleet/drain.js";
import { type FleetFile, fleetNow } from "../../src/fleet/fleet-file.js";
import { RpcMover } from "../../src/fleet/rpc-mover.js";

export interface WorkerWords {
  readonly database: string;
  readonly drainId: string;
  readonly worker: string;
  readonly takesOver: boolean;
  readonly sources: readonly string[];
  readonly file: FleetFile;
}

const words = JSON.parse(process.argv[2] ?? "") as WorkerWords;
const clock = systemClock;
const pool = new pg.Pool({ connectionString: words.database });
pool.on("error", () => {});
const say = (what: object) => process.stdout.write(`${JSON.stringify(what)}\n`);

DBOS.setConfig({
  ...{ name: "switchover", systemDatabaseUrl: words.database, executorID: words.worker },
  ...{ logLevel: "error", runAdminServer: false },
});
const drain = DBOS.registerWorkflow(
  async ({ sources, file }: Pick<WorkerWords, "sources" | "file">) => {
    const uris = new Map(file.hosts.map((it) => [it.name, it.uri]));
    const mover = new RpcMover({ clock, uris });
    const conducted = conduct({
      ...{ engine: dbosEngine(DBOS, sequenceTokens(pool)), mover, clock, againMs: 100 },
      random: () => randomBytes(9).toString("hex"),
      begun: async () => ({
        ...{ kind: "begun", atMs: clock.now(), fleet: await fleetNow(file, clock) },
        wish: { sources, limits: defaultDrainLimits, attempts: 4, deadlineMs: null },
      }),
      onEvent: ({ kind }) => say({ kind }),
    });
    const guests = await conducted.ended;
    await mover.close();
    return guests.map(({ guest, stands, at, why }) => ({ name: guest.name, stands, at, why }));
  },
  { name: "drain" },
);
await DBOS.launch();
const { drainId, sources, file, takesOver } = words;
const handle = takesOver
  ? await DBOS.resumeWorkflow(drainId)
  : await DBOS.startWorkflow(drain, { workflowID: drainId })({ sources, file });
say({ report: await handle.getResult() });
await DBOS.shutdown();
await pool.end();
