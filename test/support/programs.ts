// The programs that tests start as processes or threads: switchoverd, switchover, engines that may kill themselves, searches.
// Each is bundled into one file once per run, so that it starts as fast as it does for a user; stack traces refer to the sources.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const variable = "SWITCHOVER_TEST_PROGRAMS";

/** The source of each program. switchoverd starts the relay from a file of this name beside its own. */
const sources = {
  switchoverd: "src/cli/daemon.ts",
  switchover: "src/cli/main.ts",
  "relay-process": "src/drivers/relay/relay-process.ts",
  "fault-engine": "test/e2e/faults/engine.ts",
  "recovery-engine": "test/e2e/recovery/engine.ts",
  "journal-holder": "test/unit/drivers/journal/holder.ts",
  "search-worker": "test/simulator/search-worker.ts",
  "hosts-worker": "test/simulator/hosts-worker.ts",
  "libvirtd-worker": "test/simulator/libvirtd-worker.ts",
} as const;
export type Program = keyof typeof sources;

/** Two directories below the root, as dist/cli is: the programs read package.json and the inspector's page from there. */
const parent = join(root, "node_modules");
const prefix = ".switchover-programs-";

/** Builds the programs and publishes their paths to this process and its children; returns a function that removes them. */
export function buildPrograms(): () => void {
  removeAbandoned();
  const directory = mkdtempSync(join(parent, `${prefix}${process.pid}-`));
  buildSync({
    entryPoints: Object.entries(sources).map(([out, path]) => ({ in: join(root, path), out })),
    outdir: directory,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    sourcemap: true,
    sourcesContent: false,
    // Loaded by the process beside the program, or optional.
    external: ["@opentelemetry/api", "@dbos-inc/dbos-sdk", "pg"],
    // Some dependencies are CommonJS.
    banner: { js: 'import{createRequire}from"node:module";const require=createRequire(import.meta.url);' },
    logLevel: "warning",
  });
  process.env[variable] = directory;
  return () => rmSync(directory, { recursive: true, force: true });
}

/** Removes the remains of runs that were killed. */
function removeAbandoned(): void {
  for (const name of readdirSync(parent)) {
    const pid = Number(name.startsWith(prefix) ? name.slice(prefix.length).split("-")[0] : Number.NaN);
    if (!Number.isNaN(pid) && !isAlive(pid)) rmSync(join(parent, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Returns Node's arguments that start the program. */
export const programArguments = (program: Program): readonly string[] => [
  "--enable-source-maps",
  programPath(program),
];

/** Returns the program's file. Without a global setup, as in a benchmark, the first call builds the programs. */
export function programPath(program: Program): string {
  let directory = process.env[variable];
  if (directory === undefined) {
    process.once("exit", buildPrograms());
    directory = process.env[variable] ?? "";
  }
  return join(directory, `${program}.js`);
}
