// Runs the searches of the host world in a worker thread, so that the test's thread stays responsive.

import { parentPort, workerData } from "node:worker_threads";
import { inARow, searchHosts } from "../../src/simulator/hosts/hosts-world.js";
import { breakages } from "./host-breakages.js";

export interface HostsTask {
  readonly hosts: number;
  readonly migrations: number;
  readonly faults: number;
  readonly breakage?: string;
  readonly reduced?: boolean;
}

const { breakage = "", migrations, ...search } = workerData as HostsTask;
const rules = breakages[breakage]?.rules() ?? {};
parentPort?.postMessage(searchHosts({ ...search, migrations: inARow(search.hosts, migrations), rules }));
