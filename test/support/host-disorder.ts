// What a host itself may meet while a guest moves: damaged or lost stories, a full disk, a QEMU that hangs while its daemon
// restarts, commands of an operator, and calls of an earlier migration that arrive late. One copy runs on, or the guest is
// quarantined and one command on each such host ends it.

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
/** No migration takes longer by itself, with each deadline of the machines passed. */
const endsWithinMs = 90_000;

type Side = "a" | "b";

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

/** For a while nothing that the daemon of that side writes to a file finds room. */
async function fillDisk(lab: TwoHosts, side: Side): Promise<Allowed> {
  const limit = (pid: number, most: string) =>
    execFileSync("prlimit", [`--fsize=${most}:unlimited`, "--pid", `${pid}`]);
  limit(lab.hosts[side].pid, "1");
  await later(fullMs);
  limit(lab.hosts[side].pid, "unlimited");
  // A QEMU that was started meanwhile has the limit of its daemon.
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
    const obeyed = (command: string) => why === null && name === command;
    return { note, resets: obeyed("reset"), suspended: obeyed("suspend"), ended: obeyed("destroy") };
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

/** Why a fault is not looked at in a way, by a part of its name; each is looked at in the others. */
const unmet: Readonly<Partial<Record<keyof typeof ways, readonly RegExp[]>>> = {
  // The earlier migration would need an image of its own.
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

/** As evenly spread as the golden ratio does, in milliseconds. */
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
  if (disorder === undefined) throw new Error(`there is no such fault: ${disorderName}`);
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
    // A guest that boots again counts its writes anew.
    if (way.guest?.disk !== undefined && at !== undefined && !allowed.resets) await checkDisks(lab, at, kind);
    return { kind, what: `${allowed.note}; ${what}`, at };
  } finally {
    watch?.end();
    await endings?.close();
    // A QEMU that hangs is killed all the same.
    await lab.end();
  }
}

/** Checks G4, and that a guest which stayed has left no image at the destination (G6). @throws Error */
async function checkDisks(lab: TwoHosts, at: string, kind: Ending["kind"]): Promise<void> {
  await lab.guest.checkDisk(at);
  if (kind === "one" && at === "a" && existsSync(lab.guest.image("b")))
    throw new BrokenGuarantee("left over", "the image that was made at the destination is left there");
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
