// The kinds of migration from host a to host b in the sweep, slow enough for seeded moments to fall into all phases.

import { migrateBetween } from "../../src/library/remote/migrate-between.js";
import type { ProofDomainOptions, TwoHosts } from "./host-process.js";
import { StepByStep } from "./step-by-step.js";

/** Makes a migration last for more than a second. */
const slow = { bandwidthMiBps: 12 };
const betweenStepsMs = 400;

export interface Way {
  readonly maxWaitMs: number;
  readonly guest?: ProofDomainOptions;
  /** The guest is shut off, and only its definition moves. */
  readonly shutOff?: true;
  /** `serial`: the name of the destination's serial file. Resolves when the migration has begun; `ended` never rejects. */
  begin(lab: TwoHosts, serial: string): Promise<{ readonly ended: Promise<unknown> }>;
}

export const ways = {
  managed: {
    maxWaitMs: 1_500,
    begin: async (lab, serial) => {
      const { outcome } = await lab.managed({ ...slow, xml: lab.guest.xml(serial) });
      return { ended: outcome };
    },
  },
  "peer-to-peer": {
    maxWaitMs: 1_500,
    begin: async (lab, serial) => ({ ended: lab.peerToPeer("a", "b", serial, slow).catch(() => {}) }),
  },
  // Slow, so that many moments fall between two steps.
  "step by step": {
    maxWaitMs: 3_000,
    begin: async (lab, serial) => ({ ended: stepwise(lab, serial) }),
  },
  "that leaves its definition": {
    maxWaitMs: 1_500,
    begin: async (lab, serial) => {
      const { outcome } = await migrateBetween({
        from: lab.hosts.a.uri,
        to: lab.hosts.b.uri,
        domain: lab.guest.name,
        flags: ["LIVE", "PERSIST_DEST"],
        parameters: { ...slow, xml: lab.guest.xml(serial) },
      });
      return { ended: outcome };
    },
  },
  "that copies a disk": {
    maxWaitMs: 4_000,
    guest: { disk: "raw" },
    begin: async (lab, serial) => {
      const { outcome } = await lab.managed({ ...slow, xml: lab.guest.xml(serial) }, ["NON_SHARED_DISK"]);
      return { ended: outcome };
    },
  },
  "of a definition": {
    maxWaitMs: 500,
    shutOff: true,
    begin: async (lab, serial) => {
      const { outcome } = await migrateBetween({
        from: lab.hosts.a.uri,
        to: lab.hosts.b.uri,
        domain: lab.guest.name,
        flags: ["OFFLINE", "PERSIST_DEST", "UNDEFINE_SOURCE"],
        parameters: { xml: lab.guest.xml(serial) },
      });
      return { ended: outcome };
    },
  },
  "in post-copy": {
    maxWaitMs: 4_000,
    guest: { workingSetMiB: 24, dirtyMiBps: 24 },
    begin: async (lab, serial) => {
      const limits = { ...slow, postcopyBandwidthMiBps: slow.bandwidthMiBps, xml: lab.guest.xml(serial) };
      const migration = await lab.managed(limits, ["POSTCOPY"]);
      await lab.jobAt("a", (job) => job.dataProcessed > 0n);
      // The migration may have ended already: then there is nothing to switch over.
      await migration.startPostcopy().catch(() => {});
      return { ended: migration.outcome };
    },
  },
} as const satisfies Record<string, Way>;

async function stepwise(lab: TwoHosts, serial: string): Promise<void> {
  const steps = await StepByStep.over(lab);
  try {
    await steps.begin();
    await later(betweenStepsMs);
    await steps.prepare(serial);
    await later(betweenStepsMs);
    await steps.perform();
    await later(betweenStepsMs);
    await steps.finish();
    await later(betweenStepsMs);
    await steps.confirm();
  } catch {
    // Acts as libvirt's client does when it sees the connection to a killed daemon break.
    await steps.finish(undefined, 1).catch(() => {});
    await steps.confirm(undefined, 1).catch(() => {});
  }
}

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
