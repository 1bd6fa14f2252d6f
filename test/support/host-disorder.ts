// Faults of the hosts themselves during a migration: damaged or lost stories, a full disk, a QEMU that hangs while its daemon
// restarts, an operator's commands, and calls of an earlier migration that arrive late. Afterwards one copy runs, or the guest is
// quarantined and one command on each quarantined host ends it.

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RpcConnection } from "../../src/drivers/libvirt/rpc/client.js";
import { remote } from "../../src/drivers/libvirt/rpc/procedures.js";
import { messageOf } from "../../src/protocol/effect-result.js";
import { CopiesWatch } from "./copies-watch.js";
import { type Allowed, type Ending, Endings } from "./host-endings.js";
import { BrokenGuarantee } from "./host-operator.js";
import { streams, TwoHosts } from "./host-process.js";
import { type Way, ways } from "./host-ways.js";
import { patienceMs } from "./patience.js";
import { commandLine } from "./qemus-of.js";
import { strays } from "./strays.js";

const { procedures } = remote;

const patient = { deadlineMs: patienceMs };
const hangMs = 2_000;
const fullMs = 1_500;
/** Longer than any migration takes, even when it waits for each deadline of the machines. */
const endsWithinMs = 90_000;

type Side = "a" | "b";

interface Disorder {
  /** Runs before the migration begins. */
  readonly prepare?: (lab: TwoHosts) => Promise<(() => Promise<void>) | undefined>;
  /** The name of the destination's serial file. */
  readonly serial?: string;
  happen(lab: TwoHosts, seed: number, prepared: (() => Promise<void>) | undefined): Promise<Allowed>;
}

/** Returns an integer below `below`, derived from the seed. */
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

/** Suspends the QEMU of that side, if there is one, until its restarted daemon has tried to reach it. */
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

/** For a while no write of that side's daemon to a file succeeds. */
async function fillDisk(lab: TwoHosts, side: Side): Promise<Allowed> {
  const limit = (pid: number, most: string) =>
    execFileSync("prlimit", [`--fsize=${most}:unlimited`, "--pid", `${pid}`]);
  limit(lab.hosts[side].pid, "1");
  await later(fullMs);
  limit(lab.hosts[side].pid, "unlimited");
  // A QEMU that was started in the meantime has inherited the limit of its daemon.
  for (const pid of lab.guest.pids()) limit(pid, "unlimited");
  lab.hosts[side].takeSaid();
  return { note: "the disk was full" };
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

/** A command may be accepted or rejected; the checks afterwards depend on which it was. */
const commanded =
  (name: string, command: Command) =>
  async (lab: TwoHosts, side: Side): Promise<Allowed> => {
    const rpc = await lab.rpc(side);
    const why = await command(rpc, lab, side).then(
      () => null,
      (error: unknown) => messageOf(error),
    );
    const note = why === null ? "the command was accepted" : `the command was rejected: ${why}`;
    const obeyed = (command: string) => why === null && name === command;
    return { note, resets: obeyed("reset"), suspended: obeyed("suspend"), ended: obeyed("destroy") };
  };

/** Builds a fault for each of the two hosts. */
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
  ...onBoth((side, whose) => [
    `the disk at ${whose} is full for a while`,
    { happen: (lab) => fillDisk(lab, side) },
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
      // Returns to a, since a guest writes to a new serial file on each stay.
      await lab.peerToPeer("b", "a", "c");
      return replay;
    },
    happen: async (_, __, prepared) => {
      await prepared?.();
      return { note: "the calls were replayed" };
    },
  },
};

export interface HostDisorder {
  readonly way: keyof typeof ways;
  readonly disorder: string;
}

/** Faults that are left out for a kind of migration, by a part of their names; the other kinds cover them. */
const unmet: Readonly<Partial<Record<keyof typeof ways, readonly RegExp[]>>> = {
  // The earlier migration would need its own image.
  "that copies a disk": [/earlier/],
  // There is no QEMU, and an operator who defines the guest twice may start it twice.
  "of a definition": [/hangs/, /define/, /earlier/],
};

export const hostDisorders: readonly HostDisorder[] = (Object.keys(ways) as (keyof typeof ways)[]).flatMap(
  (way) =>
    Object.keys(disorders)
      .filter((disorder) => !unmet[way]?.some((part) => part.test(disorder)))
      .map((disorder) => ({ way, disorder })),
);
export const disorderName = ({ way, disorder }: HostDisorder): string => `${disorder}, in a migration ${way}`;

/** Spreads the moments evenly by the golden ratio, in milliseconds. */
export const disorderMoment = ({ way }: HostDisorder, seed: number): number =>
  Math.round(((seed * 0.618) % 1) * ways[way].maxWaitMs);

/** @throws BrokenGuarantee */
export async function migrationInDisorder(
  { way: wayName, disorder: disorderName }: HostDisorder,
  seed: number,
  ms: number,
): Promise<Ending> {
  const way: Way = ways[wayName];
  const disorder = disorders[disorderName];
  if (disorder === undefined) throw new Error(`unknown fault: ${disorderName}`);
  const lab = new TwoHosts({ migration: streams({ relay: false }) }, undefined, undefined, way.guest ?? {});
  let watch: CopiesWatch | undefined;
  let endings: Endings | undefined;
  try {
    await lab.begin(way.shutOff !== true);
    endings = new Endings(lab.guest, lab.hosts);
    const prepared = await disorder.prepare?.(lab);
    watch = new CopiesWatch(lab.guest);
    const { ended } = await way.begin(lab, disorder.serial ?? "b");
    await later(ms);
    const allowed = await disorder.happen(lab, seed, prepared);
    await within(ended, wayName);
    const { kind, what, at } = await endings.judge(watch, {
      ...allowed,
      adopts: seed % 2 === 1,
      shutOff: way.shutOff === true,
    });
    // A guest that boots again restarts its count of writes.
    if (way.guest?.disk !== undefined && at !== undefined && !allowed.resets) await checkDisks(lab, at, kind);
    return { kind, what: `${allowed.note}; ${what}`, at };
  } finally {
    watch?.end();
    await endings?.close();
    // This also kills a QEMU that hangs.
    await lab.end();
  }
}

/** Checks G4, and that a guest which stayed has left no image at the destination (G6). @throws Error */
async function checkDisks(lab: TwoHosts, at: string, kind: Ending["kind"]): Promise<void> {
  await lab.guest.checkDisk(at);
  if (kind === "one" && at === "a" && existsSync(lab.guest.image("b")))
    throw new BrokenGuarantee("left over", "the image that was created at the destination was not removed");
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
      reject(new Error("the wait was cancelled"));
    });
  });
