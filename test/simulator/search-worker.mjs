// Runs one search in a thread of its own, so that the test's thread stays free.

import { parentPort, workerData } from "node:worker_threads";
import { register } from "tsx/esm/api";

register();
const { search } = await import("../../src/simulator/search.ts");
try {
  parentPort.postMessage({ found: search(workerData) });
} catch (error) {
  parentPort.postMessage({
    story: error.story,
    counterexample: error.counterexample,
    message: String(error.stack),
  });
}
