// Judges the outcome of a fault between hosts: one running copy, or a quarantined guest that one command on each quarantined
// host ends. Any other outcome breaks a guarantee and has a name: two copies, none, a wait that does not end, remains.

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Redial } from "../../src/drivers/libvirt/client/reconnecting-client.js";
import { domainStates } from "../../src/drivers/libvirt/rpc/constants.js";
import { remote } from "../../src/drivers/libvirt/rpc/procedures.js";
import { systemClock } from "../../src/drivers/platform/clock.js";
import { messageOf } from "../../src/protocol/effect-result.js";
import type { CopiesWatch } from "./copies-watch.js";
import { BrokenGuarantee, Operator } from "./host-operator.js";
import type { HostProcess, ProofDomain } from "./host-process.js";
import { describe, isActive, type OnHost, type Sight, seenAt } from "./host-sight.js";
import { patienceMs } from "./patience.js";

const { procedures } = remote;

export interface Ending {
  /** `ended`: an operator's command ended the guest. */
  readonly kind: "one" | "quarantined" | "ended";
  readonly what: string;
  /** The host that runs the guest; undefined when no host does. */
  readonly at?: string | undefined;
}

/** Consequences that the fault itself accounts for. */
export interface Allowed {
  /** Describes the fault's effect, such as that a command was rejected. */
  readonly note: string;
  /** An operator's reset was accepted: the guest boots again. */
  readonly resets?: boolean;
  /** An operator's suspend was accepted: the guest may be paused at the end. */
  readonly suspended?: boolean;
  /** An operator's destroy was accepted: there may be no copy at the end. Excuses nothing else. */
  readonly ended?: boolean;
  /** The operator adopts the quarantined copy that ran last instead of ending it. */
  readonly adopts?: boolean;
  /** The guest did not run: exactly one host starts it at the end. */
  readonly shutOff?: boolean;
}

/** Longer than the interval at which a host retries a QEMU that does not answer. */
const remainingMs = 7_000;
/** Longer than each deadline of the machines. */
const maxWaitMs = patienceMs;
const lookMs = 150;

export class Endings {
  readonly #guest: ProofDomain;
  readonly #hosts: ReadonlyMap<string, HostProcess>;
  readonly #redials: ReadonlyMap<string, Redial>;
  readonly #operator: Operator;
  readonly #maxWaitMs: number;
  readonly #leftMs: number;

  /** `maxMs`: the time limit for the hosts to reach a stable state. */
  constructor(guest: ProofDomain, hosts: Readonly<Record<string, HostProcess>>, maxMs = maxWaitMs) {
    this.#guest = guest;
    this.#maxWaitMs = maxMs;
    // Longer than a daemon takes to remove the remains of a QEMU.
    this.#leftMs = 5 * maxMs;
    this.#hosts = new Map(Object.entries(hosts));
    const redials = Object.entries(hosts).map(
      ([name, { uri }]) => [name, new Redial(uri, systemClock)] as const,
    );
    this.#redials = new Map(redials);
    this.#operator = new Operator(guest, this.#hosts, this.#redials);
  }

  async close(): Promise<void> {
    for (const redial of this.#redials.values()) await redial.close();
  }

  /**
   * Waits for a stable state, acts as an operator would, and judges the outcome. Checks for two copies before any command,
   * which could end one of them, and again after all commands. @throws BrokenGuarantee
   */
  async judge(watch: CopiesWatch, allowed: Allowed): Promise<Ending> {
    const before = await this.#rests();
    this.#checkCopies(watch, allowed);
    const commands: string[] = [];
    const after = await this.#operate(before, watch, allowed, commands);
    const isQuarantined = commands.length > 0;
    const holder = this.#holder(after, commands);
    if (holder?.isBroken) {
      // libvirt leaves this to an operator too.
      if (!allowed.ended && !isQuarantined) throw new BrokenGuarantee("lost", describe(after));
      await this.#operator.destroy(holder.name);
      return await this.#ended(
        await this.#rests(),
        [...commands, `destroy at ${holder.name}`],
        watch,
        allowed,
      );
    }
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
    if (at === undefined) throw new BrokenGuarantee("lost", `the guest is gone; ${commands}`);
    if (commands.length > 0)
      return { kind: "quarantined", what: `${commands.join(", ")}; it runs at ${at}`, at };
    return { kind: "one", what: `it runs at ${at}`, at };
  }

  /** Sends one command to each quarantined host, appends it to `commands`, and returns the view afterwards. */
  async #operate(
    before: Sight,
    watch: CopiesWatch,
    { adopts = false }: Allowed,
    commands: string[],
  ): Promise<Sight> {
    let sight = before;
    const keeper = adopts ? this.#operator.hostOf(watch.latest) : undefined;
    if (keeper !== undefined && sight.get(keeper)?.quarantined) {
      // The other hosts may then be able to decide by themselves.
      commands.push(await this.#operator.adopt(keeper));
      sight = await this.#rests();
    }
    for (const [name, { quarantined }] of sight)
      if (quarantined !== null) commands.push(await this.#operator.giveUp(name));
    return commands.length === 0 ? before : await this.#rests();
  }

  /** Returns the one host that has the guest's only QEMU; undefined when no host has it. @throws BrokenGuarantee */
  #holder(sight: Sight, commands: readonly string[]): ({ readonly name: string } & OnHost) | undefined {
    const told = `${commands.join(", ")}; ${describe(sight)}`;
    const waits = ({ hasJob, quarantined, unanswered }: OnHost) =>
      hasJob || quarantined !== null || unanswered !== null;
    if ([...sight.values()].some(waits)) throw new BrokenGuarantee("stuck", told);
    const holding = [...sight].filter(([, seen]) => isActive(seen));
    const pids = this.#guest.pids();
    if (holding.length > 1 || pids.length > holding.length)
      throw new BrokenGuarantee("left over", `QEMUs ${pids}; ${told}`);
    const [holder] = holding;
    return holder && { name: holder[0], ...holder[1] };
  }

  /** Judges the outcome when no host has the guest. @throws BrokenGuarantee */
  async #ended(
    sight: Sight,
    commands: readonly string[],
    watch: CopiesWatch,
    allowed: Allowed,
  ): Promise<Ending> {
    if (this.#holder(sight, commands) !== undefined) throw new BrokenGuarantee("stuck", describe(sight));
    await this.#leavesNothing(0);
    this.#checkCopies(watch, allowed);
    if (allowed.ended) return { kind: "ended", what: "an operator's destroy was accepted" };
    const isGivenUp = commands.length > 0 && !commands.some((command) => command.startsWith("adopt"));
    if (isGivenUp) return { kind: "quarantined", what: commands.join(", ") };
    throw new BrokenGuarantee("lost", `${commands.join(", ")}; ${describe(sight)}`);
  }

  async #rests(): Promise<Sight> {
    const endMs = Date.now() + this.#maxWaitMs;
    let last = "";
    let sinceMs = Date.now();
    for (;;) {
      const sight = await this.#look();
      const each = [...sight.values()];
      const holding = each.filter(isActive);
      const isBusy = each.some(
        ({ hasJob, quarantined, unanswered }) => (hasJob && quarantined === null) || unanswered !== null,
      );
      const isQuarantined = each.some(({ quarantined }) => quarantined !== null);
      const agrees = this.#guest.pids().length === holding.length;
      if (!isBusy && !isQuarantined && agrees && holding.length === 1) return sight;
      const seen = `${describe(sight)} ${this.#guest.pids()}`;
      if (seen !== last) [last, sinceMs] = [seen, Date.now()];
      if (!isBusy && Date.now() - sinceMs > remainingMs) return sight;
      if (Date.now() > endMs) return sight;
      await new Promise((resolve) => setTimeout(resolve, lookMs));
    }
  }

  async #look(): Promise<Sight> {
    const seen = [...this.#redials].map(
      async ([name, redial]) => [name, await seenAt(redial, this.#guest)] as const,
    );
    return new Map(await Promise.all(seen));
  }

  /** Resumes the guest, which may be paused at the end only when an operator has suspended it. @throws BrokenGuarantee */
  async #resume(at: string, { suspended = false }: Allowed, sight: Sight): Promise<void> {
    if (!suspended)
      throw new BrokenGuarantee(
        "stuck",
        `the guest is paused, and no operator suspended it; ${describe(sight)}`,
      );
    const { uuid, name } = this.#guest;
    await this.#redials.get(at)?.call(procedures.domainResume, { dom: { uuid, name, id: -1 } });
  }

  /** Sends a start to every host; exactly one accepts it. @throws BrokenGuarantee */
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
    if (obeying.length > 1)
      throw new BrokenGuarantee("two", `the guest was started at ${obeying.join(" and ")}`);
    if (obeying.length === 0)
      throw new BrokenGuarantee(
        "lost",
        `no host starts the guest; ${answers.join("; ")}; ${describe(sight)}`,
      );
  }

  /** @throws BrokenGuarantee when two copies have run, or the guest's count has a gap. */
  #checkCopies(watch: CopiesWatch, { resets = false, shutOff = false }: Allowed): void {
    watch.look();
    if (watch.two !== undefined) throw new BrokenGuarantee("two", watch.two);
    // A guest that never ran has no count yet.
    if (shutOff && this.#guest.serialSizes().size === 0) return;
    const fault = this.#guest.discontinuity(resets);
    if (fault !== undefined) throw new BrokenGuarantee(fault.isRepeated ? "two" : "discontinuous", fault.why);
  }

  /** Waits until at most so many directories of QEMUs are left (G6): each is removed just after its process ended. */
  async #leavesNothing(most: number): Promise<void> {
    const endMs = Date.now() + this.#leftMs;
    for (;;) {
      const runs = [...this.#hosts.values()].map(({ directory }) => join(directory, "run"));
      const left = runs.filter((path) => existsSync(path)).flatMap((path) => readdirSync(path));
      if (left.length <= most) return;
      if (Date.now() > endMs) {
        const said = [...this.#hosts].map(([name, { said }]) => `${name}: ${said}`).join("; ");
        throw new BrokenGuarantee(
          "left over",
          `directories of QEMUs are left: ${left}; the daemons logged: ${said}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
