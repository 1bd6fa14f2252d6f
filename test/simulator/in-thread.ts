// Runs a search in a worker thread, so that the test runner stays responsive.

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { type Program, programPath } from "../support/programs.js";

/** Resolves to the only message that the program sends. @throws the program's exception. */
export async function inThread<Answer>(program: Program, task: object): Promise<Answer> {
  const worker = new Worker(programPath(program), { workerData: task, execArgv: ["--enable-source-maps"] });
  try {
    const [answer] = (await once(worker, "message")) as [Answer];
    return answer;
  } finally {
    await worker.terminate();
  }
}
