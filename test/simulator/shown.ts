// Writes the shortest story of a broken guarantee in the simulated world to a file, for the inspector.

import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BrokenGuarantee } from "../../src/simulator/world.js";

/** Runs the check; adds the command that shows a counterexample to the error. */
export function shown<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    const broken = brokenIn(error);
    if (broken !== undefined && error instanceof Error) {
      const path = join(mkdtempSync(join(tmpdir(), "counterexample-")), "counterexample.json");
      writeFileSync(path, JSON.stringify(broken.counterexample));
      error.message += `\nto inspect it: npx switchover inspect ${path}`;
    }
    throw error;
  }
}

/** fast-check wraps what a property threw as the cause of its own error. */
const brokenIn = (error: unknown): BrokenGuarantee | undefined =>
  error instanceof BrokenGuarantee
    ? error
    : error instanceof Error && error.cause !== undefined
      ? brokenIn(error.cause)
      : undefined;
