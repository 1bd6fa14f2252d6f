// Runs the searches of the host world with a libvirtd in a worker thread, so that the test's thread stays responsive.

import { parentPort, workerData } from "node:worker_threads";
import { type LibvirtdSearch, searchBesideLibvirtd } from "../../src/simulator/hosts/libvirtd-world.js";
import { evidenceBreakages } from "./libvirtd-breakages.js";

export interface LibvirtdTask extends Omit<LibvirtdSearch, "rules"> {
  readonly breakage?: string;
}

const { breakage = "", ...search } = workerData as LibvirtdTask;
parentPort?.postMessage(searchBesideLibvirtd({ ...search, rules: evidenceBreakages[breakage]?.rules ?? {} }));
