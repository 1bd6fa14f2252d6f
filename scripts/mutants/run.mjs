// Applies one breakage at a time, runs the tests that must fail, puts the file back, and prints which test has failed.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { broken } from "./place.mjs";

/** A breakage may show as a test that hangs. */
const hangingAfterMs = "120000";

/**
 * `within`: names of a declaration and of members or properties in it, outermost first. In it, behind the words `after`, the
 * words `find` are replaced by `instead`; without `find` the whole value is. `tests`: files or folders of tests, run one after
 * another until one catches it: the fastest first.
 * @typedef {object} Mutant
 * @property {string} name
 * @property {string} file
 * @property {readonly string[]} [within]
 * @property {string} [after]
 * @property {string} [find]
 * @property {string} instead
 * @property {readonly string[]} tests
 */

/**
 * Runs the mutants whose name, file or tests contain one of the filters, or all of them. Returns the exit code: 0 when each was
 * caught by a test.
 * @param {readonly Mutant[]} mutants
 * @param {readonly string[]} filters
 */
export function runMutants(mutants, filters) {
  const chosen = mutants.filter(({ name, file, tests }) =>
    filters.length === 0
      ? true
      : filters.some((part) => [name, file, ...tests].some((text) => text.includes(part))),
  );
  if (chosen.length === 0) {
    console.error(`no mutant is called like: ${filters.join(", ")}`);
    return 2;
  }
  const applied = chosen.map((mutant) => ({
    mutant,
    text: broken(readFileSync(mutant.file, "utf8"), mutant),
  }));
  for (const { mutant, text } of applied)
    if (text === undefined) console.error(`does not apply: "${mutant.name}" has no place in ${mutant.file}`);
  let caught = 0;
  for (const { mutant, text } of applied) {
    if (text === undefined) continue;
    const startedMs = Date.now();
    const { verdict, why } = outcomeOf(mutant, text);
    const seconds = `${Math.round((Date.now() - startedMs) / 1000)} s`;
    if (verdict === "caught") caught += 1;
    console.log(`${verdict.padEnd(8)} ${seconds.padStart(6)}  ${mutant.name}\n${" ".repeat(17)}${why}`);
  }
  console.log(`${caught} of ${chosen.length} breakages caught`);
  return caught === chosen.length ? 0 : 1;
}

/**
 * Breaks the file, and puts it back also when this process is interrupted.
 * @param {Mutant} mutant
 * @param {string} text
 */
function outcomeOf({ file, tests }, text) {
  const whole = readFileSync(file, "utf8");
  const restore = () => writeFileSync(file, whole);
  const stop = () => {
    restore();
    process.exit(130);
  };
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  writeFileSync(file, text);
  try {
    for (const some of tests) {
      const outcome = failureIn(some);
      if (outcome !== null) return outcome;
    }
    return { verdict: "SURVIVED", why: `all pass: ${tests.join(" ")}` };
  } finally {
    restore();
    process.off("SIGINT", stop);
    process.off("SIGTERM", stop);
  }
}

/**
 * Null when all pass. `NOT RUN`: no single test has failed, so that nothing is known of the breakage.
 * @param {string} tests
 */
function failureIn(tests) {
  const directory = mkdtempSync(join(tmpdir(), "mutant-"));
  const report = join(directory, "report.json");
  try {
    const words = ["vitest", "run", "--bail", "1", "--reporter=json", `--outputFile=${report}`, tests];
    const env = { ...process.env, SWITCHOVER_TEST_LIMIT_MS: hangingAfterMs };
    const { status } = spawnSync("npx", words, { stdio: "ignore", env });
    if (status === 0) return null;
    const { testResults } = JSON.parse(readFileSync(report, "utf8"));
    for (const { name, assertionResults } of testResults)
      for (const result of assertionResults)
        if (result.status === "failed")
          return { verdict: "caught", why: `${name.slice(process.cwd().length + 1)}: ${result.fullName}` };
    const messages = testResults
      .map(({ message }) => message.split("\n")[0])
      .filter((message) => message !== "");
    return { verdict: "NOT RUN", why: messages.join("; ") || `${tests} was ended from outside` };
  } catch (error) {
    return { verdict: "NOT RUN", why: String(error) };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
