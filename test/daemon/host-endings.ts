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
}

/** What the fault itself accounts for. */
export interface Allowed {
  /** What the fault did, such as that a command was rejected. */
  readonly note: string;
  /** An operator's reset was obeyed: the guest boots again. */
  readonly resets?: boolean;
  /** An operator's destroy was obeyed. */
  readonly ended?: boolean;
}

interface OnHost {
  readonly state: number | undefined;
  readonly hasJob: boolean;
  readonly quarantined: string | null;
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

  constructor(guest: ProofDomain, hosts: Readonly<Record<string, HostProcess>>) {
    this.#guest = guest;
    this.#hosts = new Map(Object.entries(hosts));
    const redials = Object.entries(hosts).map(
      ([name, { uri }]) => [name, new Redial(uri, systemClock)] as const,
    );
    this.#redials = new Map(redials);
  }

  async close(): Promise<void> {
    for (const redial of this.#redials.values()) await redial.close();
  }

  /** Waits until nothing changes any more, does what an operator would, and judges. @throws BrokenGuarantee */
  async judge(watch: CopiesWatch, allowed: Allowed): Promise<Ending> {
    const before = await this.#rests();
    const commands = [...before].some(([, { quarantined }]) => quarantined !== null)
      ? await this.#operate(before)
      : [];
    const after = commands.length === 0 ? before : await this.#rests();
    const stuck = [...after].filter(([, { hasJob, quarantined }]) => hasJob || quarantined !== null);
    if (stuck.length > 0) throw new BrokenGuarantee("stuck", `${commands}; ${describe(after)}`);
    const holding = [...after].filter(([, { state }]) => active.includes(state));
    const [holder, second] = holding;
    const pids = this.#guest.pids();
    if (second !== undefined || pids.length > 1)
      throw new BrokenGuarantee("left over", `QEMUs ${pids}; ${commands}; ${describe(after)}`);
    if (holder === undefined) {
      if (pids.length > 0) throw new BrokenGuarantee("left over", `QEMU ${pids} is on no host`);
      this.#checkCounts(watch, allowed);
      await this.#leavesNothing(0);
      if (allowed.ended) return { kind: "ended", what: "an operator's destroy was obeyed" };
      if (commands.length > 0) return { kind: "quarantined", what: commands.join(", ") };
      throw new BrokenGuarantee("lost", describe(after));
    }
    const [at, { state }] = holder;
    if (state === domainStates.paused) await this.#resume(at);
    await this.#guest.countsAnywhere();
    this.#checkCounts(watch, allowed);
    await this.#leavesNothing(1);
    if (commands.length > 0) return { kind: "quarantined", what: `${commands.join(", ")}; it runs at ${at}` };
    return { kind: "one", what: `it runs at ${at}` };
  }

  async #rests(): Promise<Sight> {
    const endMs = Date.now() + longestMs;
    let last = "";
    let sinceMs = Date.now();
    for (;;) {
      const sight = await this.#look();
      const each = [...sight.values()];
      const holding = each.filter(({ state }) => active.includes(state));
      const isBusy = each.some(({ hasJob }) => hasJob);
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
    const told = await redial.call(own.procedures.standing, null);
    const mine = z.array(standing).parse(JSON.parse(told.domains));
    const quarantined = mine.find((found) => found.uuid === uuid)?.quarantined ?? null;
    try {
      const { state } = await redial.call(procedures.domainGetState, { dom, flags: 0 });
      const job = await redial.call(procedures.domainGetJobInfo, { dom });
      return { state, hasJob: job.type !== jobTypes.none, quarantined };
    } catch (error) {
      if (error instanceof LibvirtError && error.code === errorCodes.NO_DOMAIN)
        return { state: undefined, hasJob: false, quarantined };
      if (error instanceof LibvirtError)
        return { state: undefined, hasJob: quarantined === null, quarantined };
      throw error;
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

  async #resume(at: string): Promise<void> {
    const { uuid, name } = this.#guest;
    await this.#redials.get(at)?.call(procedures.domainResume, { dom: { uuid, name, id: -1 } });
  }

  #checkCounts(watch: CopiesWatch, { resets = false }: Allowed): void {
    if (watch.two !== undefined) throw new BrokenGuarantee("two", watch.two);
    const fault = this.#guest.discontinuity(resets);
    if (fault === undefined) return;
    throw new BrokenGuarantee(fault.includes("comes again") ? "two" : "discontinuous", fault);
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
    .map(([name, { state, hasJob, quarantined }]) => {
      const job = hasJob ? " with a job" : "";
      const why = quarantined === null ? "" : ` quarantined (${quarantined})`;
      return `${name}: state ${state ?? "none"}${job}${why}`;
    })
    .join("; ");
