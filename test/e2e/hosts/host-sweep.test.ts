// Checks G1, G2 and G6 between hosts that lose or damage their records, whose QEMUs hang, or that an operator or a late call
// interrupts: one copy runs at the end, or one command on each quarantined host ends the guest.

import { describe, expect, test } from "vitest";
import {
  disorderMoment,
  disorderName,
  hostDisorders,
  migrationInDisorder,
} from "../../support/host-disorder.js";
import { ringFaults, ringMoment, ringName, roundWith } from "../../support/host-ring.js";
import { testLimitMs } from "../../support/patience.js";

// A slice; `npm run faults:hosts` runs more of it. Most commands of an operator go to one of the hosts here. The seed makes the
// fault happen while the destination waits for the guest.
const seed = 2;
const elsewhere = /(?:define|resume) at the source|(?:suspend|reset) at the destination/;
const slice = hostDisorders
  .filter(({ way, disorder }) => way === "step by step" && !elsewhere.test(disorder))
  .map((fault) => [disorderName(fault), disorderMoment(fault, seed), fault] as const);
const inRing = ringFaults.slice(1, 2).map((fault) => [ringName(fault), ringMoment(fault, 1), fault] as const);

describe("one copy runs at the end, or one command on each quarantined host ends the guest, when", () => {
  test.for(slice)("%s, after %i ms", { timeout: testLimitMs }, async ([, ms, fault]) => {
    expect(["one", "quarantined", "ended"]).toContain((await migrationInDisorder(fault, seed, ms)).kind);
  });

  test.for(inRing)("%s, after %i ms", { timeout: testLimitMs }, async ([, ms, fault]) => {
    expect(["one", "quarantined"]).toContain((await roundWith(fault, 1, ms)).kind);
  });
});
