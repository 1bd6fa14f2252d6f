// What goes wrong between two hosts while a guest moves, at a seeded moment; and that one copy runs on in the end.

import { Cable, inTwoHosts, streams, type TwoHosts } from "./lab.js";

export const hostFaults = [
  "the source's daemon is killed with -9 in a managed migration",
  "the destination's daemon is killed with -9 in a managed migration",
  "both daemons are killed with -9 in a peer-to-peer migration",
  "the client that coordinates is killed with -9",
  "the cable is cut for a while in a managed migration",
  "the cable is cut for a while in a peer-to-peer migration",
  "the source's daemon is killed with -9 in a migration by version 2",
  "the destination's daemon is killed with -9 in a migration by version 2",
  "the client is gone in a migration by version 2",
  "the source's daemon is killed with -9 in a tunnelled migration",
  "the destination's daemon is killed with -9 in a tunnelled migration",
  "the cable is cut for a while in a tunnelled migration",
] as const;
export type HostFault = (typeof hostFaults)[number];

/** So that a migration lasts for more than a second, and seeded moments fall into all of its phases. */
const slow = { bandwidthMiBps: 12 };
const longestMs = 2_000;
/** Longer than the watchdog waits, shorter than the machines' last deadlines. */
const cutMs = 3_000;

/** As evenly spread as the golden ratio does, in milliseconds. */
export const momentOf = (seed: number): number => Math.round(((seed * 0.618) % 1) * longestMs);
export const moments = (count: number): number[] =>
  Array.from({ length: count }, (_, seed) => momentOf(seed + 1));

export const needsCable = (fault: HostFault): boolean => fault.startsWith("the cable");

/** The side that runs the guest in the end. @throws Error when not exactly one does, or it has not counted on. */
export async function migrationWith(fault: HostFault, ms: number): Promise<"a" | "b"> {
  let at: "a" | "b" | undefined;
  const hosts = { migration: streams({ relay: true }), ...(needsCable(fault) && { cable: new Cable() }) };
  await inTwoHosts(hosts, async (lab) => {
    await happens(lab, fault, ms);
    at = await lab.countsOn();
  });
  if (at === undefined) throw new Error("nobody has looked where the guest is");
  return at;
}

/** Resolves when whoever coordinates has ended. */
async function happens(lab: TwoHosts, fault: HostFault, ms: number): Promise<void> {
  switch (fault) {
    case "the source's daemon is killed with -9 in a managed migration": {
      const { outcome } = await lab.managed(slow);
      await later(ms);
      await lab.restart("a");
      await outcome;
      return;
    }
    case "the destination's daemon is killed with -9 in a managed migration": {
      const { outcome } = await lab.managed(slow);
      await later(ms);
      await lab.restart("b");
      await outcome;
      return;
    }
    case "both daemons are killed with -9 in a peer-to-peer migration": {
      const ended = lab.peerToPeer("a", "b", "b", slow).catch(() => {});
      await later(ms);
      await Promise.all([lab.restart("a"), lab.restart("b")]);
      await ended;
      return;
    }
    case "the client that coordinates is killed with -9": {
      const client = lab.client(["--bandwidth", `${slow.bandwidthMiBps}`]);
      await later(ms);
      client.kill();
      await client.ended;
      return;
    }
    case "the cable is cut for a while in a managed migration": {
      const client = lab.client(["--bandwidth", `${slow.bandwidthMiBps}`]);
      await cutFor(lab, ms);
      await client.ended;
      return;
    }
    case "the cable is cut for a while in a peer-to-peer migration": {
      const ended = lab.peerToPeer("a", "b", "b", slow).catch(() => {});
      await cutFor(lab, ms);
      await ended;
      return;
    }
    case "the source's daemon is killed with -9 in a migration by version 2": {
      const { ended } = lab.version2(slow);
      await later(ms);
      await lab.restart("a");
      await ended;
      return;
    }
    case "the destination's daemon is killed with -9 in a migration by version 2": {
      const { ended } = lab.version2(slow);
      await later(ms);
      await lab.restart("b");
      await ended;
      return;
    }
    case "the client is gone in a migration by version 2": {
      const { ended, leave } = lab.version2(slow);
      await later(ms);
      await leave();
      await ended;
      return;
    }
    case "the source's daemon is killed with -9 in a tunnelled migration": {
      const ended = tunnelled(lab);
      await later(ms);
      await lab.restart("a");
      await ended;
      return;
    }
    case "the destination's daemon is killed with -9 in a tunnelled migration": {
      const ended = tunnelled(lab);
      await later(ms);
      await lab.restart("b");
      await ended;
      return;
    }
    case "the cable is cut for a while in a tunnelled migration": {
      const ended = tunnelled(lab);
      await cutFor(lab, ms);
      await ended;
    }
  }
}

const tunnelled = (lab: TwoHosts) => lab.peerToPeer("a", "b", "b", slow, ["TUNNELLED"]).catch(() => {});

async function cutFor(lab: TwoHosts, ms: number): Promise<void> {
  await later(ms);
  lab.cable?.cut();
  await later(cutMs);
  lab.cable?.mend();
}

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
