// The check for daily work, `npm run check:fast`: types, lint, rings, unit tests, the machines, an exhaustive search with 2
// faults, and one real migration with its proof. Two checks run at a time. The last line prints the elapsed time.

import { spawn } from "node:child_process";

/** Unit tests that take long, or start daemons or guests, run only in the full check. */
const units = ["test/unit", "test/simulator/explore", "test/simulator/migration-world"];
const leftOut = [
  "cli/cli",
  "drivers/domain-xml/compatibility",
  "drivers/domain-xml/qemu",
  "drivers/fencing",
  "cli/inspect",
  "inspector/page",
  "inspector/who-runs",
  "inspector/xstate-inspect",
  "proof-guest",
];

const npm = (script) => ["npm", "run", "--silent", script];
const tsx = (...words) => ["node", "--import", "tsx", ...words];
const vitest = [
  "node",
  "node_modules/vitest/vitest.mjs",
  "run",
  "--reporter=dot",
  "--maxWorkers=2",
  ...leftOut.flatMap((name) => ["--exclude", `test/unit/${name}*`]),
];
/** The longest checks first. */
const checks = {
  units: [...vitest, ...units],
  types: npm("types"),
  rings: npm("rings"),
  "search, managed": tsx("scripts/search.ts", "2"),
  "search, peer-to-peer": tsx("scripts/search.ts", "2", "p2p"),
  "one migration": tsx("src/cli/main.ts", "migrate"),
  lint: npm("lint"),
};

/** Resolves to true when the check passed; prints its output when it failed. */
function run(name, [command, ...words]) {
  const startedMs = performance.now();
  const child = spawn(command, words, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (text) => {
      output += text;
    });
  return new Promise((resolve) => {
    child.once("close", (code) => {
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
      if (code !== 0) process.stdout.write(output);
      console.log(`${code === 0 ? "passed" : "FAILED"}  ${name}, ${seconds} s`);
      resolve(code === 0);
    });
  });
}

const startedMs = performance.now();
const waiting = Object.entries(checks);
const failed = [];
async function work() {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const [name, command] = next;
    if (!(await run(name, command))) failed.push(name);
  }
}
await Promise.all([work(), work()]);
const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
console.log(failed.length === 0 ? `check:fast passed in ${seconds} s` : `failed: ${failed.join(", ")}`);
process.exitCode = failed.length === 0 ? 0 : 1;
