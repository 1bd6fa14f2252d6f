// Checks G1, G2, G5 and G6 on real QEMU, fault by fault over the step table.

import { afterAll, describe, expect, test } from "vitest";
import { caseOf, describeCase, sweep } from "./cases.js";
import { Sweeper } from "./sweep.js";

// A slice: `npm run faults` runs every case. Each number is coprime to the number of faults of a row, so every kind of fault occurs.
const slice = sweep.map((_, seed) => seed).filter((seed) => seed % 23 === 3);

describe("a slice of the fault sweep on real QEMU", () => {
  const sweeper = new Sweeper();
  afterAll(() => sweeper.end());

  test.each(slice.map((seed) => [describeCase(sweep[seed] ?? never()), seed] as const))(
    "%s: one copy runs, or its QEMU was killed",
    async (_, seed) => {
      const { verdict, why } = await sweeper.run(caseOf(seed));
      expect(["one running", "none but settled later", "lost with its QEMU"], why).toContain(verdict);
    },
  );
});

function never(): never {
  throw new Error("the sweep has no case of this number");
}
