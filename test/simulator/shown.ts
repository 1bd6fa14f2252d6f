// A guarantee that breaks in the simulated world leaves its shortest story behind as a file, for the inspector.

import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BrokenGuarantee } from "../../src/simulator/world.js";

/** Runs the check; what breaks in it is told with where to look at it. */
export function shown<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    const broken = brokenIn(error);
    if (broken !== undefined && error instanceof Error) {
      const path = join(mkdtempSync(join(tmpdir(), "counterexample-")), "counterexample.json");
      writeFileSync(path, JSON.stringify(broken.counterexample));
      error.message += `\nto look at it: npx switchover inspect ${path}`;
    }
    throw error;
  }
}

/** fast-check puts what a property threw beneath its own error. */
const brokenIn = (error: unknown): BrokenGuarantee | undefined =>
  error instanceof BrokenGuarantee
    ? error
    : error instanceof Error && error.cause !== undefined
      ? brokenIn(error.cause)
      : undefined;
