// Runs the exhaustive search: `npm run search -- [faults] [p2p] [fence] [storage] [postcopy] [unreduced]`, 4 faults by
// default. Prints the number of states and the speed, or the shortest trace that violates a guarantee and then exits with 1.
// `npm run search -- hosts [--hosts 2|3] [--migrations N] [--faults N]` searches the surroundings of a migration: hosts that
// restart, requests of operators, consecutive migrations; with `--peer libvirtd` one migration to or from a libvirtd.

import { writeFileSync } from "node:fs";
import { BrokenGuarantee, search } from "../src/simulator/index.js";
import { searchHostsAsTold } from "./search-hosts.js";

const counterexamplePath = "counterexample.json";
const words = process.argv.slice(2);
if (words[0] === "hosts") process.exit(searchHostsAsTold(words.slice(1)));
const faults = Number(words.find((word) => /^\d+$/.test(word)) ?? 4);
const strange = words.find((word) => !/^(\d+|p2p|fence|storage|postcopy|unreduced)$/.test(word));
if (strange !== undefined) {
  console.error(
    `unknown argument "${strange}": expected a number of faults, p2p, fence, storage, postcopy or unreduced`,
  );
  process.exit(2);
}
const policy = { whenUnreachable: "fence", patienceMs: 1 } as const;
const options = {
  faults,
  peerToPeer: words.includes("p2p"),
  storage: words.includes("storage"),
  postcopy: words.includes("postcopy"),
  reduced: !words.includes("unreduced"),
  ...(words.includes("fence") && { policy }),
};
const startedMs = performance.now();
const startedCpu = process.cpuUsage();
try {
  const { states, transitions, ends } = search(options);
  const seconds = (performance.now() - startedMs) / 1000;
  console.log(
    `up to ${faults} faults: ${states} states, ${transitions} steps, ${ends} ends; no guarantee is violated`,
  );
  const { user, system } = process.cpuUsage(startedCpu);
  const cpuSeconds = (user + system) / 1e6;
  console.log(
    `${seconds.toFixed(1)} s, ${Math.round(states / seconds)} states per second; ` +
      `${cpuSeconds.toFixed(1)} s of CPU time, ${Math.round(states / cpuSeconds)} states per CPU second`,
  );
} catch (error) {
  if (!(error instanceof BrokenGuarantee)) throw error;
  console.error(error.message);
  writeFileSync(counterexamplePath, `${JSON.stringify(error.counterexample)}\n`);
  console.error(`to inspect the trace: npx switchover inspect ${counterexamplePath}`);
  process.exit(1);
}
