// How a fault between hosts has ended: one running copy, or a guest that is quarantined and that one command on each such
// host ends. Everything else is a fault of ours, with a name: two copies, none, a wait without end, something left over.

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod/mini";
import { standing } from "../../src/daemon/domain-records.js";
import { Redial } from "../../src/drivers/libvirt/redial.js";
import { domainStates, jobTypes } from "../../src/drivers/libvirt-rpc/constants.js";
import { errorCodes, LibvirtError } from "../../src/drivers/libvirt-rpc/libvirt-error.js";
import { own } from "../../src/drivers/libvirt-rpc/own-procedures.js";
import { remote } from "../../src/drivers/libvirt-rpc/procedures.js";
import { systemClock } from "../../src/drivers/system.js";
import { messageOf } from "../../src/protocol/answer.js";
import { commandLine } from "../migrate/qemus-of.js";
import type { CopiesWatch } from "./copies-watch.js";
import type { HostProcess, ProofDomain } from "./lab.js";

const { procedures } = remote;

export type Broken = "two" | "lost" | "stuck" | "left over" | "discontinuous";
export class BrokenGuarantee extends Error {
  readonly kind: Broken;
  constructor(kind: Broken, message: string) {
    super(message);
    this.kind = kind;
  }
}

export interface Ending {
  /** `ended`: an operator's command that was obeyed has ended the guest. */
  readonly kind: "one" | "quarantined" | "ended";
  readonly what: string;
  /** The host that runs the guest; undefined when none does. */
  readonly at?: string | undefined;
}

/** What the fault itself accounts for. */
export interface Allowed {
  /** What the fault did, such as that a command was rejected. */
  readonly note: string;
  /** An operator's reset was obeyed: the guest boots again. */
  readonly resets?: boolean;
  /** An operator's suspend was obeyed: the guest may be paused in the end. */
  readonly suspended?: boolean;
  /** An operator's destroy was obeyed: in the end no copy may be there. It excuses nothing else. */
  readonly ended?: boolean;
  /** The guest did not run: exactly one host starts it in the end. */
  readonly shutOff?: boolean;
}

interface OnHost {
  readonly state: number | undefined;
  readonly hasJob: boolean;
  readonly quarantined: string | null;
  /** Why the host does not answer. */
  readonly unanswered: string | null;
}
type Sight = ReadonlyMap<string, OnHost>;

/** Longer than a host looks for a mute QEMU again. */
const restMs = 7_000;
/** Longer than each deadline of the machines. */
const longestMs = 40_000;
const lookMs = 150;

const active: readonly (number | undefined)[] = [
  domainStates.running,
  domainStates.blocked,
  domainStates.paused,
];

export class Endings {
  readonly #guest: ProofDomain;
  readonly #hosts: ReadonlyMap<string, HostProcess>;
  readonly #redials: ReadonlyMap<string, Redial>;
  readonly #longestMs: number;

  /** `mostMs`: how long it waits until nothing changes any more. */
  constructor(guest: ProofDomain, hosts: Readonly<Record<string, HostProcess>>, mostMs = longestMs) {
    this.#guest = guest;
    this.#longestMs = mostMs;
    this.#hosts = new Map(Object.entries(hosts));
    const redials = Object.entries(hosts).map(
      ([name, { uri }]) => [name, new Redial(uri, systemClock)] as const,
    );
    this.#redials = new Map(redials);
  }

  async close(): Promise<void> {
    for (const redial of this.#redials.values()) await redial.close();
  }

  /**
   * Waits until nothing changes any more, does what an operator would, and judges. Whether two copies have run is decided
   * before any command, which could end one of them, and again after all commands. @throws BrokenGuarantee
   */
  async judge(watch: CopiesWatch, allowed: Allowed): Promise<Ending> {
    const before = await this.#rests();
    this.#checkCopies(watch, allowed);
    const isQuarantined = [...before.values()].some(({ quarantined }) => quarantined !== null);
    const commands = isQuarantined ? await this.#operate(before) : [];
    const after = isQuarantined ? await this.#rests() : before;
    const holder = this.#holder(after, commands);
    const counted = { ...allowed, resets: allowed.resets === true || allowed.shutOff === true };
    if (holder === undefined && allowed.shutOff) await this.#startOnce(after);
    else if (holder === undefined) return await this.#ended(after, commands, watch, allowed);
    else if (holder.state === domainStates.paused) await this.#resume(holder.name, allowed, after);
    await this.#guest.countsAnywhere().catch((error: unknown) => {
      throw new BrokenGuarantee("stuck", messageOf(error));
    });
    this.#checkCopies(watch, counted);
    const at = this.#holder(await this.#look(), commands)?.name;
    await this.#leavesNothing(1);
    this.#checkCopies(watch, counted);
    if (at === undefined) throw new BrokenGuarantee("lost", `it has gone; ${commands}`);
    if (commands.length > 0)
      return { kind: "quarantined", what: `${commands.join(", ")}; it runs at ${at}`, at };
    return { kind: "one", what: `it runs at ${at}`, at };
  }

  /** The one host that has the guest's only QEMU; undefined when none has. @throws BrokenGuarantee */
  #holder(
    sight: Sight,
    commands: readonly string[],
  ): { name: string; state: number | undefined } | undefined {
    const told = `${commands.join(", ")}; ${describe(sight)}`;
    const waits = ({ hasJob, quarantined, unanswered }: OnHost) =>
      hasJob || quarantined !== null || unanswered !== null;
    if ([...sight.values()].some(waits)) throw new BrokenGuarantee("stuck", told);
    const holding = [...sight].filter(([, { state }]) => active.includes(state));
    const pids = this.#guest.pids();
    if (holding.length > 1 || pids.length > holding.length)
      throw new BrokenGuarantee("left over", `QEMUs ${pids}; ${told}`);
    const [holder] = holding;
    return holder && { name: holder[0], state: holder[1].state };
  }

  /** What it is when no host has the guest. @throws BrokenGuarantee */
  async #ended(
    sight: Sight,
    commands: readonly string[],
    watch: CopiesWatch,
    allowed: Allowed,
  ): Promise<Ending> {
    await this.#leavesNothing(0);
    this.#checkCopies(watch, allowed);
    if (allowed.ended) return { kind: "ended", what: "an operator's destroy was obeyed" };
    if (commands.length > 0) return { kind: "quarantined", what: commands.join(", ") };
    throw new BrokenGuarantee("lost", describe(sight));
  }

  async #rests(): Promise<Sight> {
    const endMs = Date.now() + this.#longestMs;
    let last = "";
    let sinceMs = Date.now();
    for (;;) {
      const sight = await this.#look();
      const each = [...sight.values()];
      const holding = each.filter(({ state }) => active.includes(state));
      const isBusy = each.some(
        ({ hasJob, quarantined, unanswered }) => (hasJob && quarantined === null) || unanswered !== null,
      );
      const isQuarantined = each.some(({ quarantined }) => quarantined !== null);
      const agrees = this.#guest.pids().length === holding.length;
      if (!isBusy && !isQuarantined && agrees && holding.length === 1) return sight;
      const seen = `${describe(sight)} ${this.#guest.pids()}`;
      if (seen !== last) [last, sinceMs] = [seen, Date.now()];
      if (!isBusy && Date.now() - sinceMs > restMs) return sight;
      if (Date.now() > endMs) return sight;
      await new Promise((resolve) => setTimeout(resolve, lookMs));
    }
  }

  async #look(): Promise<Sight> {
    const seen = [...this.#redials].map(
      async ([name, redial]) => [name, await this.#seenAt(redial)] as const,
    );
    return new Map(await Promise.all(seen));
  }

  async #seenAt(redial: Redial): Promise<OnHost> {
    const { uuid, name } = this.#guest;
    const dom = { uuid, name, id: -1 };
    const gone = { state: undefined, hasJob: false, quarantined: null, unanswered: null };
    let quarantined: string | null = null;
    try {
      const told = await redial.call(own.procedures.standing, null);
      const mine = z.array(standing).parse(JSON.parse(told.domains));
      quarantined = mine.find((found) => found.uuid === uuid)?.quarantined ?? null;
      const { state } = await redial.call(procedures.domainGetState, { dom, flags: 0 });
      const job = await redial.call(procedures.domainGetJobInfo, { dom });
      return { ...gone, state, hasJob: job.type !== jobTypes.none, quarantined };
    } catch (error) {
      if (error instanceof LibvirtError && error.code === errorCodes.NO_DOMAIN)
        return { ...gone, quarantined };
      if (error instanceof LibvirtError) return { ...gone, hasJob: quarantined === null, quarantined };
      return { ...gone, unanswered: messageOf(error) };
    }
  }

  /**
   * Sends one command to each quarantined host: `destroy` when a QEMU of the guest is there, since a release is rejected
   * then, and `release` otherwise. It does not choose which of several QEMUs to keep.
   */
  async #operate(sight: Sight): Promise<readonly string[]> {
    const said: string[] = [];
    const uuid = this.#guest.uuid;
    for (const [name, { quarantined }] of sight) {
      const redial = this.#redials.get(name);
      if (quarantined === null || redial === undefined) continue;
      const hasQemu = this.#pidsAt(name).length > 0;
      const command = hasQemu ? "destroy" : "release";
      const asked = hasQemu
        ? redial.call(procedures.domainDestroy, { dom: { uuid, name: this.#guest.name, id: -1 } })
        : redial.call(own.procedures.release, { uuid });
      try {
        await asked;
        said.push(`${command} at ${name}`);
      } catch (error) {
        throw new BrokenGuarantee("stuck", `${command} at ${name} is rejected: ${messageOf(error)}`);
      }
    }
    return said;
  }

  /** The QEMUs that were started by this host: their monitors are below its directory. */
  #pidsAt(name: string): readonly number[] {
    const directory = this.#hosts.get(name)?.directory ?? "";
    return this.#guest.pids().filter((pid) => commandLine(`${pid}`).join(" ").includes(directory));
  }

  /** A guest is paused in the end only when an operator has suspended it. @throws BrokenGuarantee */
  async #resume(at: string, { suspended = false }: Allowed, sight: Sight): Promise<void> {
    if (!suspended) throw new BrokenGuarantee("stuck", `it is paused, and not suspended; ${describe(sight)}`);
    const { uuid, name } = this.#guest;
    await this.#redials.get(at)?.call(procedures.domainResume, { dom: { uuid, name, id: -1 } });
  }

  /** Sends a start to every host; exactly one obeys. @throws BrokenGuarantee */
  async #startOnce(sight: Sight): Promise<void> {
    const { uuid, name } = this.#guest;
    const answers: string[] = [];
    const obeying: string[] = [];
    for (const [host, redial] of this.#redials)
      try {
        await redial.call(procedures.domainCreate, { dom: { uuid, name, id: -1 } });
        obeying.push(host);
      } catch (error) {
        answers.push(`${host}: ${messageOf(error)}`);
      }
    if (obeying.length > 1) throw new BrokenGuarantee("two", `it is started at ${obeying.join(" and ")}`);
    if (obeying.length === 0)
      throw new BrokenGuarantee("lost", `no host starts it; ${answers.join("; ")}; ${describe(sight)}`);
  }

  /** @throws BrokenGuarantee when two copies have counted on, or the guest's count is not whole. */
  #checkCopies(watch: CopiesWatch, { resets = false, shutOff = false }: Allowed): void {
    watch.look();
    if (watch.two !== undefined) throw new BrokenGuarantee("two", watch.two);
    // What has never run has no count yet.
    if (shutOff && this.#guest.serialSizes().size === 0) return;
    const fault = this.#guest.discontinuity(resets);
    if (fault !== undefined) throw new BrokenGuarantee(fault.isRepeated ? "two" : "discontinuous", fault.why);
  }

  /** Waits until there is no more than so many QEMUs' own directories (G6): one goes just after its process. */
  async #leavesNothing(most: number): Promise<void> {
    const endMs = Date.now() + 5_000;
    for (;;) {
      const runs = [...this.#hosts.values()].map(({ directory }) => join(directory, "run"));
      const left = runs.filter((path) => existsSync(path)).flatMap((path) => readdirSync(path));
      if (left.length <= most) return;
      if (Date.now() > endMs) throw new BrokenGuarantee("left over", `these are left of QEMUs: ${left}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

const describe = (sight: Sight): string =>
  [...sight]
    .map(([name, { state, hasJob, quarantined, unanswered }]) => {
      const job = hasJob ? " with a job" : "";
      const why = quarantined === null ? "" : ` quarantined (${quarantined})`;
      const mute = unanswered === null ? "" : ` does not answer (${unanswered})`;
      return `${name}: state ${state ?? "none"}${job}${why}${mute}`;
    })
    .join("; ");
