// A managed migration from a to b that performs one libvirt procedure at a time, over its own two connections.

import { readFileSync } from "node:fs";
import { bitsOf, type MigrateFlag, toParameters } from "../../src/drivers/libvirt/client/flags.js";
import type { RpcConnection } from "../../src/drivers/libvirt/rpc/client.js";
import { remote } from "../../src/drivers/libvirt/rpc/procedures.js";
import { type TwoHosts, whole } from "./host-process.js";
import { storyOf } from "./host-state.js";
import { until } from "./until.js";

const { procedures } = remote;
const patient = { deadlineMs: Number.POSITIVE_INFINITY };

const steps = ["begin", "prepare", "perform", "finish", "confirm"] as const;
type Step = (typeof steps)[number];

export class StepByStep {
  readonly #lab: TwoHosts;
  readonly #a: RpcConnection;
  readonly #b: RpcConnection;
  readonly #flags: number;
  readonly cookies: Record<"begin" | "prepare" | "perform" | "finish", Uint8Array> = {
    begin: noCookie,
    prepare: noCookie,
    perform: noCookie,
    finish: noCookie,
  };
  #uri = "";

  private constructor(lab: TwoHosts, a: RpcConnection, b: RpcConnection, flags: number) {
    this.#lab = lab;
    this.#a = a;
    this.#b = b;
    this.#flags = flags;
  }

  /** Connects to both hosts; no step is performed yet. */
  static async over(lab: TwoHosts, ...flags: MigrateFlag[]): Promise<StepByStep> {
    const [a, b] = [await lab.redial("a").rpc(), await lab.redial("b").rpc()];
    return new StepByStep(lab, a, b, bitsOf([...whole, "CHANGE_PROTECTION", ...flags]));
  }

  /** Performs the steps of a new migration up to `last`, and returns it there. */
  static async through(last: Step, lab: TwoHosts, ...flags: MigrateFlag[]): Promise<StepByStep> {
    const migration = await StepByStep.over(lab, ...flags);
    for (const step of steps.slice(0, steps.indexOf(last) + 1)) await migration[step]();
    return migration;
  }

  /** Makes its steps carry the cookies and the URI of an earlier migration. */
  repeat(earlier: StepByStep): void {
    Object.assign(this.cookies, earlier.cookies);
    this.#uri = earlier.#uri;
  }

  async begin(): Promise<void> {
    const { dom } = this.#lab;
    const flags = this.#flags;
    const begun = await this.#a.call(procedures.domainMigrateBegin3Params, { dom, params: [], flags });
    this.cookies.begin = begun.cookieOut;
  }

  /** `serial`: the name of the destination's serial file. */
  async prepare(serial = "b"): Promise<void> {
    const { cookieOut, uriOut } = await this.#b.call(
      procedures.domainMigratePrepare3Params,
      {
        params: toParameters({ xml: this.#lab.guest.xml(serial) }),
        cookieIn: this.cookies.begin,
        flags: this.#flagsThere,
      },
      patient,
    );
    this.cookies.prepare = cookieOut;
    this.#uri = uriOut ?? "";
  }

  async perform(): Promise<void> {
    const { cookieOut } = await this.#a.call(
      procedures.domainMigratePerform3Params,
      {
        dom: this.#lab.dom,
        dconnuri: null,
        params: toParameters({ uri: this.#uri }),
        cookieIn: this.cookies.prepare,
        flags: this.#flags,
      },
      patient,
    );
    this.cookies.perform = cookieOut;
  }

  async finish(cookieIn = this.cookies.perform, cancelled = 0, at = this.#b): Promise<void> {
    const params = toParameters({ name: this.#lab.guest.name });
    const asked = { params, cookieIn, flags: this.#flagsThere, cancelled };
    const { cookieOut } = await at.call(procedures.domainMigrateFinish3Params, asked, patient);
    this.cookies.finish = cookieOut;
  }

  async confirm(cookieIn = this.cookies.finish, cancelled = 0, at = this.#a): Promise<void> {
    const asked = { dom: this.#lab.dom, params: [], cookieIn, flags: this.#flags, cancelled };
    await at.call(procedures.domainMigrateConfirm3Params, asked, patient);
  }

  get #flagsThere(): number {
    return this.#flags & ~bitsOf(["CHANGE_PROTECTION", "UNDEFINE_SOURCE"]);
  }
}

/** A destination that has recorded its decision to take the guest, and whose QEMU was stopped before `cont`. */
export async function hangingAsItTakes(
  lab: TwoHosts,
): Promise<{ readonly steps: StepByStep; readonly source: number; readonly there: number }> {
  const [source = 0] = lab.guest.pids();
  const steps = await StepByStep.through("perform", lab);
  const [there = 0] = lab.guest.pids().filter((pid) => pid !== source);
  process.kill(there, "SIGSTOP");
  void steps.finish().catch(() => {});
  await until(() => /"state":"(taking|resuming)[^"]*"/.test(readFileSync(storyOf(lab, "b"), "utf8")));
  return { steps, source, there };
}

export const noCookie: Uint8Array = new Uint8Array();
