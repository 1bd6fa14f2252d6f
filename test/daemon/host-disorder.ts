// What a host itself may meet while a guest moves: damaged or lost stories, a QEMU that hangs while its daemon restarts,
// commands of an operator, and calls of an earlier migration that arrive late. One copy runs on, or the guest is quarantined
// and one command on each such host ends it.

import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RpcConnection } from "../../src/drivers/libvirt-rpc/client.js";
import { remote } from "../../src/drivers/libvirt-rpc/procedures.js";
import { messageOf } from "../../src/protocol/answer.js";
import { migrateBetween } from "../../src/remote-migration.js";
import { commandLine } from "../migrate/qemus-of.js";
import { CopiesWatch } from "./copies-watch.js";
import { type Allowed, BrokenGuarantee, type Ending, Endings } from "./host-endings.js";
import { type ProofWish, streams, TwoHosts } from "./lab.js";
import { StepByStep } from "./step-by-step.js";
import { strays } from "./strays.js";

const { procedures } = remote;

/** So that a migration lasts for more than a second, and seeded moments fall into all of its phases. */
const slow = { bandwidthMiBps: 12 };
const patient = { deadlineMs: 15_000 };
const hangMs = 2_000;
const betweenStepsMs = 400;
/** No migration takes longer by itself, with each deadline of the machines passed. */
const endsWithinMs = 60_000;

type Side = "a" | "b";

interface Way {
  readonly longestMs: number;
  readonly guest?: ProofWish;
  /** `serial`: the name of the destination's serial file. Resolves when it is under way; `ended` never rejects. */
  begin(lab: TwoHosts, serial: string): Promise<{ readonly ended: Promise<unknown> }>;
}

const ways = {
  managed: {
    longestMs: 1_500,
    begin: async (lab, serial) => {
      const { outcome } = await lab.managed({ ...slow, xml: lab.guest.xml(serial) });
      return { ended: outcome };
    },
  },
  "peer-to-peer": {
    longestMs: 1_500,
    begin: async (lab, serial) => ({ ended: lab.peerToPeer("a", "b", serial, slow).catch(() => {}) }),
  },
  // Slowly, so that many moments are between two steps.
  "step by step": {
    longestMs: 3_000,
    begin: async (lab, serial) => ({ ended: stepwise(lab, serial) }),
  },
  "that leaves its definition": {
    longestMs: 1_500,
    begin: async (lab, serial) => {
      const { outcome } = await migrateBetween({
        ...{ from: lab.hosts.a.uri, to: lab.hosts.b.uri, domain: lab.guest.name },
        flags: ["LIVE", "PERSIST_DEST"],
        parameters: { ...slow, xml: lab.guest.xml(serial) },
      });
      return { ended: outcome };
    },
  },
  "in post-copy": {
    longestMs: 4_000,
    guest: { workingSetMiB: 24, dirtyMiBps: 24 },
    begin: async (lab, serial) => {
      const limits = { ...slow, postcopyBandwidthMiBps: slow.bandwidthMiBps, xml: lab.guest.xml(serial) };
      const migration = await lab.managed(limits, ["POSTCOPY"]);
      await lab.jobAt("a", (job) => job.dataProcessed > 0n);
      // It may have ended already: then there is nothing to switch over.
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
    // As libvirt's client does, which sees the connection to a killed daemon break.
    await steps.finish(undefined, 1).catch(() => {});
    await steps.confirm(undefined, 1).catch(() => {});
  }
}

interface Disorder {
  /** Before the migration begins; the name of the serial file that it goes to. */
  readonly prepare?: (lab: TwoHosts) => Promise<(() => Promise<void>) | undefined>;
  readonly serial?: string;
  happen(lab: TwoHosts, seed: number, prepared: (() => Promise<void>) | undefined): Promise<Allowed>;
}

/** An integer below `below` that follows from the seed. */
const chosen = (seed: number, below: number): number =>
  below <= 0 ? 0 : (Math.imul(seed + 1, 2_654_435_761) >>> 8) % below;

const journalOf = (lab: TwoHosts, side: Side) => join(lab.hosts[side].directory, "state", "journal");

function flipBit(path: string, seed: number): void {
  const bytes = readFileSync(path);
  const at = chosen(seed, bytes.length);
  bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << chosen(seed + 7, 8)), at);
  writeFileSync(path, bytes);
}

async function damageStory(lab: TwoHosts, side: Side, seed: number): Promise<Allowed> {
  const host = lab.hosts[side];
  await host.kill();
  const directory = journalOf(lab, side);
  const stories = readdirSync(directory).filter((entry) => entry.endsWith(".journal"));
  for (const name of stories) flipBit(join(directory, name), seed);
  await host.start();
  return { note: `${stories.length} stories were damaged` };
}

async function loseJournal(lab: TwoHosts, side: Side): Promise<Allowed> {
  await lab.hosts[side].kill();
  rmSync(journalOf(lab, side), { recursive: true });
  await lab.hosts[side].start();
  return { note: "the journal was lost" };
}

/** A QEMU of that side, if there is one, hangs until its restarted daemon has looked at it. */
async function hangAtRestart(lab: TwoHosts, side: Side): Promise<Allowed> {
  const { directory } = lab.hosts[side];
  const [pid] = lab.guest.pids().filter((each) => commandLine(`${each}`).join(" ").includes(directory));
  await lab.hosts[side].kill();
  if (pid !== undefined) process.kill(pid, "SIGSTOP");
  await lab.hosts[side].start();
  await later(hangMs);
  if (pid !== undefined && existsSync(`/proc/${pid}`)) process.kill(pid, "SIGCONT");
  return { note: pid === undefined ? "no QEMU was there" : "a QEMU hung" };
}

type Command = (rpc: RpcConnection, lab: TwoHosts, side: Side) => Promise<unknown>;

const commands: Readonly<Record<string, Command>> = {
  start: (rpc, { dom }) => rpc.call(procedures.domainCreate, { dom }, patient),
  define: (rpc, lab, side) => rpc.call(procedures.domainDefineXml, { xml: lab.guest.xml(side) }, patient),
  suspend: (rpc, { dom }) => rpc.call(procedures.domainSuspend, { dom }, patient),
  resume: (rpc, { dom }) => rpc.call(procedures.domainResume, { dom }, patient),
  reset: (rpc, { dom }) => rpc.call(procedures.domainReset, { dom, flags: 0 }, patient),
  destroy: (rpc, { dom }) => rpc.call(procedures.domainDestroy, { dom }, patient),
};

/** What the operator's command does is obeyed or rejected: both are right, and what follows from it is checked. */
const commanded =
  (name: string, command: Command) =>
  async (lab: TwoHosts, side: Side): Promise<Allowed> => {
    const rpc = await lab.rpc(side);
    const why = await command(rpc, lab, side).then(
      () => null,
      (error: unknown) => messageOf(error),
    );
    const note = why === null ? "it was obeyed" : `it was rejected: ${why}`;
    return { note, resets: why === null && name === "reset", ended: why === null && name === "destroy" };
  };

/** On either host. */
const onBoth = (what: (side: Side, whose: string) => readonly [string, Disorder]) =>
  Object.fromEntries([what("a", "the source"), what("b", "the destination")]);

const disorders: Readonly<Record<string, Disorder>> = {
  ...onBoth((side, whose) => [
    `the story at ${whose} is damaged when its daemon restarts`,
    { happen: (lab, seed) => damageStory(lab, side, seed) },
  ]),
  ...onBoth((side, whose) => [
    `the journal of ${whose} is lost when its daemon restarts`,
    { happen: (lab) => loseJournal(lab, side) },
  ]),
  ...onBoth((side, whose) => [
    `the QEMU at ${whose} hangs while its daemon restarts`,
    { happen: (lab) => hangAtRestart(lab, side) },
  ]),
  ...Object.fromEntries(
    Object.entries(commands).flatMap(([name, command]) =>
      Object.entries(
        onBoth((side, whose) => [
          `an operator's ${name} at ${whose}`,
          { happen: (lab) => commanded(name, command)(lab, side) },
        ]),
      ),
    ),
  ),
  "calls of an earlier migration": {
    serial: "d",
    prepare: async (lab) => {
      const replay = await strays(lab);
      // Back again: a guest writes to one file for each stay.
      await lab.peerToPeer("b", "a", "c");
      return replay;
    },
    happen: async (_, __, prepared) => {
      await prepared?.();
      return { note: "they were replayed" };
    },
  },
};

export interface HostDisorder {
  readonly way: keyof typeof ways;
  readonly disorder: string;
}

export const hostDisorders: readonly HostDisorder[] = (Object.keys(ways) as (keyof typeof ways)[]).flatMap(
  (way) => Object.keys(disorders).map((disorder) => ({ way, disorder })),
);
export const disorderName = ({ way, disorder }: HostDisorder): string => `${disorder}, in a migration ${way}`;

/** As evenly spread as the golden ratio does, in milliseconds. */
export const disorderMoment = ({ way }: HostDisorder, seed: number): number =>
  Math.round(((seed * 0.618) % 1) * ways[way].longestMs);

/** @throws BrokenGuarantee */
export async function migrationInDisorder(
  { way: wayName, disorder: disorderName }: HostDisorder,
  seed: number,
  ms: number,
): Promise<Ending> {
  const way: Way = ways[wayName];
  const disorder = disorders[disorderName];
  if (disorder === undefined) throw new Error(`there is no such fault: ${disorderName}`);
  const lab = new TwoHosts({ migration: streams({ relay: false }) }, undefined, undefined, way.guest ?? {});
  let watch: CopiesWatch | undefined;
  let endings: Endings | undefined;
  try {
    await lab.begin();
    endings = new Endings(lab.guest, lab.hosts);
    const prepared = await disorder.prepare?.(lab);
    watch = new CopiesWatch(lab.guest);
    const { ended } = await way.begin(lab, disorder.serial ?? "b");
    await later(ms);
    const allowed = await disorder.happen(lab, seed, prepared);
    await within(ended, wayName);
    const { kind, what } = await endings.judge(watch, allowed);
    return { kind, what: `${allowed.note}; ${what}` };
  } finally {
    watch?.end();
    await endings?.close();
    // A QEMU that hangs is killed all the same.
    await lab.end();
  }
}

async function within(ended: Promise<unknown>, what: string): Promise<void> {
  const timer = new AbortController();
  const late = later(endsWithinMs, timer.signal).then(() => {
    throw new BrokenGuarantee("stuck", `the migration ${what} has not ended`);
  });
  late.catch(() => {});
  try {
    await Promise.race([ended, late]);
  } finally {
    timer.abort();
  }
}

const later = (ms: number, signal?: AbortSignal) =>
  new Promise<void>((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new Error("not waited for any more"));
    });
  });
