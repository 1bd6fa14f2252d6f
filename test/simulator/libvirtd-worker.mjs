// Runs the searches of the host world with a libvirtd in a thread of its own, so that the test's thread stays free.

import { parentPort, workerData } from "node:worker_threads";
import { register } from "tsx/esm/api";

register();
const { searchBesideLibvirtd } = await import("../../src/simulator/hosts/libvirtd-world.ts");
const { evidenceBreakages } = await import("./libvirtd-breakages.ts");
const { breakage, ...search } = workerData;
const rules = breakage === undefined ? {} : evidenceBreakages[breakage].rules;
parentPort.postMessage(searchBesideLibvirtd({ ...search, rules }));
