// All faults of the sweep between hosts in one list: their names, moments and runs.

import { disorderMoment, disorderName, hostDisorders, migrationInDisorder } from "./host-disorder.js";
import type { Ending } from "./host-endings.js";
import { hostFaults, migrationWith, momentOf, nameOf } from "./host-faults.js";
import { ringFaults, ringMoment, ringName, roundWith } from "./host-ring.js";

export interface SweepFault {
  readonly name: string;
  momentOf(seed: number): number;
  /** @throws BrokenGuarantee, or another Error when one copy does not run on. */
  run(seed: number, ms: number): Promise<Ending>;
}

const between: readonly SweepFault[] = hostFaults.map((fault) => ({
  name: nameOf(fault),
  momentOf: (seed) => momentOf(fault, seed),
  run: async (_, ms) => ({ kind: "one", what: `it runs at ${await migrationWith(fault, ms)}` }),
}));

const within: readonly SweepFault[] = hostDisorders.map((fault) => ({
  name: disorderName(fault),
  momentOf: (seed) => disorderMoment(fault, seed),
  run: (seed, ms) => migrationInDisorder(fault, seed, ms),
}));

const around: readonly SweepFault[] = ringFaults.map((fault) => ({
  name: ringName(fault),
  momentOf: (seed) => ringMoment(fault, seed),
  run: (seed, ms) => roundWith(fault, seed, ms),
}));

export const sweepFaults: readonly SweepFault[] = [...between, ...within, ...around];
