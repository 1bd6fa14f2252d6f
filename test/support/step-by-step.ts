// A managed migration from a to b, one libvirt procedure at a time, over connections of the test's own.

import { bitsOf, type MigrateFlag, toParameters } from "../../src/drivers/libvirt/client/flags.js";
import type { RpcConnection } from "../../src/drivers/libvirt/rpc/client.js";
import { remote } from "../../src/drivers/libvirt/rpc/procedures.js";
import { type TwoHosts, whole } from "./host-process.js";

const { procedures } = remote;
const patient = { deadlineMs: Number.POSITIVE_INFINITY };

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

  static async over(lab: TwoHosts, ...flags: MigrateFlag[]): Promise<StepByStep> {
    const [a, b] = [await lab.redial("a").rpc(), await lab.redial("b").rpc()];
    return new StepByStep(lab, a, b, bitsOf([...whole, "CHANGE_PROTECTION", ...flags]));
  }

  /** Its steps carry what those of the other one carried. */
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

  /** `serial`: the name of the file that the destination's QEMU writes its count to. */
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

export const noCookie: Uint8Array = new Uint8Array();
