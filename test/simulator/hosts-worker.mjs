// Runs the searches of the host world in a thread of its own, so that the test's thread stays free.

import { parentPort, workerData } from "node:worker_threads";
import { register } from "tsx/esm/api";

register();
const { inARow, searchHosts } = await import("../../src/simulator/hosts/hosts-world.ts");
const { breakages } = await import("./host-breakages.ts");
const { breakage, migrations, ...search } = workerData;
const rules = breakage === undefined ? {} : breakages[breakage].rules();
parentPort.postMessage(searchHosts({ ...search, migrations: inARow(search.hosts, migrations), rules }));
