// Faults between two hosts during a migration, at a seeded moment: each fault in each kind of migration that it affects. One
// copy runs at the end.

import { existsSync } from "node:fs";
import { CopiesWatch } from "./copies-watch.js";
import { BrokenGuarantee } from "./host-operator.js";
import { Cable, inTwoHosts, type ProofDomainOptions, streams, type TwoHosts } from "./host-process.js";

/** Makes a migration last for more than a second, so that seeded moments fall into all of its phases. */
const slow = { bandwidthMiBps: 12 };
/** Longer than the watchdog waits, shorter than the machines' last deadlines. */
const cutMs = 3_000;

interface Way {
  readonly guest?: ProofDomainOptions;
  /** The approximate duration of a migration without faults. */
  readonly maxWaitMs: number;
  /** `ended` resolves when the coordinator has ended; `leave` kills the coordinator. */
  begin(lab: TwoHosts): Promise<{ readonly ended: Promise<unknown>; leave?(): unknown }>;
}

const ways = {
  managed: {
    maxWaitMs: 2_000,
    begin: async (lab) => ({ ended: (await lab.managed(slow)).outcome }),
  },
  "coordinated by a separate client": {
    maxWaitMs: 2_000,
    begin: async (lab) => {
      const { kill, ended } = lab.client(["--bandwidth", `${slow.bandwidthMiBps}`]);
      return { ended, leave: kill };
    },
  },
  "peer-to-peer": {
    maxWaitMs: 2_000,
    begin: async (lab) => ({ ended: lab.peerToPeer("a", "b", "b", slow).catch(() => {}) }),
  },
  "by version 2": {
    maxWaitMs: 2_000,
    begin: async (lab) => lab.version2(slow),
  },
  tunnelled: {
    maxWaitMs: 2_000,
    begin: async (lab) => ({ ended: lab.peerToPeer("a", "b", "b", slow, ["TUNNELLED"]).catch(() => {}) }),
  },
  "that copies a disk": {
    guest: { disk: "raw" },
    maxWaitMs: 4_000,
    begin: async (lab) => ({ ended: (await lab.managed(slow, ["NON_SHARED_DISK"])).outcome }),
  },
  "in post-copy": {
    guest: { workingSetMiB: 24, dirtyMiBps: 24 },
    maxWaitMs: 4_000,
    begin: async (lab) => {
      const limits = { ...slow, postcopyBandwidthMiBps: slow.bandwidthMiBps };
      const migration = await lab.managed(limits, ["POSTCOPY"]);
      await lab.jobAt("a", (job) => job.dataProcessed > 0n);
      await migration.startPostcopy();
      return { ended: migration.outcome };
    },
  },
} as const satisfies Record<string, Way>;

interface Harm {
  readonly needsCable?: true;
  happen(lab: TwoHosts, leave: (() => unknown) | undefined): Promise<unknown>;
}

const harms = {
  "the source's daemon is killed with -9": { happen: (lab) => lab.restart("a") },
  "the destination's daemon is killed with -9": { happen: (lab) => lab.restart("b") },
  "both daemons are killed with -9": { happen: (lab) => Promise.all([lab.restart("a"), lab.restart("b")]) },
  "the coordinator is killed": { happen: async (_, leave) => leave?.() },
  "the destination's QEMU is killed with -9": {
    // Kills the younger one; does nothing when there is none yet, or none any more.
    happen: async (lab) => {
      const [, younger] = lab.guest.pids().toSorted((a, b) => a - b);
      if (younger !== undefined) process.kill(younger, "SIGKILL");
    },
  },
  "the cable is cut for a while": {
    needsCable: true,
    happen: async ({ cable }) => {
      cable?.cut();
      await later(cutMs);
      cable?.mend();
    },
  },
} as const satisfies Record<string, Harm>;

type WayName = keyof typeof ways;
type HarmName = keyof typeof harms;

/** The faults that each kind of migration is tested with; the rest are equivalent to one that is listed elsewhere. */
const met: Readonly<Record<WayName, readonly HarmName[]>> = {
  managed: [
    "the source's daemon is killed with -9",
    "the destination's daemon is killed with -9",
    "the destination's QEMU is killed with -9",
  ],
  "coordinated by a separate client": ["the coordinator is killed", "the cable is cut for a while"],
  "peer-to-peer": ["both daemons are killed with -9", "the cable is cut for a while"],
  "by version 2": [
    "the source's daemon is killed with -9",
    "the destination's daemon is killed with -9",
    "the coordinator is killed",
  ],
  tunnelled: [
    "the source's daemon is killed with -9",
    "the destination's daemon is killed with -9",
    "the cable is cut for a while",
  ],
  "that copies a disk": [
    "the source's daemon is killed with -9",
    "the destination's daemon is killed with -9",
    "the destination's QEMU is killed with -9",
    "the cable is cut for a while",
  ],
  // The guest is lost when either QEMU dies in post-copy: test/e2e/hosts/postcopy.test.ts.
  "in post-copy": [
    "the source's daemon is killed with -9",
    "the destination's daemon is killed with -9",
    "both daemons are killed with -9",
    "the cable is cut for a while",
  ],
};

export interface HostFault {
  readonly way: WayName;
  readonly harm: HarmName;
}
export const hostFaults: readonly HostFault[] = (Object.keys(ways) as WayName[]).flatMap((way) =>
  met[way].map((harm) => ({ way, harm })),
);
export const nameOf = ({ way, harm }: HostFault): string => `${harm} in a migration ${way}`;

/** Spreads the moments evenly by the golden ratio, in milliseconds. */
export const momentOf = ({ way }: HostFault, seed: number): number =>
  Math.round(((seed * 0.618) % 1) * ways[way].maxWaitMs);

export const needsCable = ({ harm }: HostFault): boolean => "needsCable" in harms[harm];

/** Returns the side that runs the guest at the end. @throws Error when not exactly one does, or its count has a gap. */
export async function migrationWith(fault: HostFault, ms: number): Promise<"a" | "b"> {
  let at: "a" | "b" | undefined;
  const way: Way = ways[fault.way];
  const harm: Harm = harms[fault.harm];
  const hosts = {
    migration: streams({ relay: true }),
    ...(needsCable(fault) && { cable: new Cable() }),
    ...(way.guest && { guest: way.guest }),
  };
  await inTwoHosts(hosts, async (lab) => {
    const watch = new CopiesWatch(lab.guest);
    try {
      const { ended, leave } = await way.begin(lab);
      await later(ms);
      await harm.happen(lab, leave);
      await ended;
      at = await lab.countsOn();
      if (watch.two !== undefined) throw new BrokenGuarantee("two", watch.two);
    } finally {
      watch.end();
    }
    if (way.guest?.disk === undefined) return;
    await lab.guest.checkDisk(at);
    if (at === "a" && existsSync(lab.guest.image("b")))
      throw new Error("the image that was created at the destination was not removed");
  });
  if (at === undefined) throw new Error("the migration ended without a check of where the guest runs");
  return at;
}

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
