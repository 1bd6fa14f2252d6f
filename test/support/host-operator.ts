// The operator in the sweep between hosts: ends or adopts quarantined guests with one command for each host.

import type { Redial } from "../../src/drivers/libvirt/client/reconnecting-client.js";
import { remote } from "../../src/drivers/libvirt/rpc/procedures.js";
import { own } from "../../src/drivers/libvirt/rpc/switchover-program.js";
import { messageOf } from "../../src/protocol/effect-result.js";
import type { HostProcess, ProofDomain } from "./host-process.js";
import { commandLine } from "./qemus-of.js";

const { procedures } = remote;

export type Broken = "two" | "lost" | "stuck" | "left over" | "discontinuous";
export class BrokenGuarantee extends Error {
  readonly kind: Broken;
  constructor(kind: Broken, message: string) {
    super(message);
    this.kind = kind;
  }
}

export class Operator {
  readonly #guest: ProofDomain;
  readonly #hosts: ReadonlyMap<string, HostProcess>;
  readonly #redials: ReadonlyMap<string, Redial>;

  constructor(
    guest: ProofDomain,
    hosts: ReadonlyMap<string, HostProcess>,
    redials: ReadonlyMap<string, Redial>,
  ) {
    this.#guest = guest;
    this.#hosts = hosts;
    this.#redials = redials;
  }

  /** Returns the host whose QEMU writes to this serial file. */
  hostOf(serial: string | undefined): string | undefined {
    if (serial === undefined) return undefined;
    return [...this.#hosts.keys()].find((name) =>
      this.#pidsAt(name).some((pid) => commandLine(`${pid}`).join(" ").includes(`path=${serial}`)),
    );
  }

  /** Declares the copy there to be the guest. @throws BrokenGuarantee when the command is rejected. */
  async adopt(at: string): Promise<string> {
    const { uuid } = this.#guest;
    return await accepted(`adopt at ${at}`, this.#redials.get(at)?.call(own.procedures.adopt, { uuid }));
  }

  /**
   * Sends `destroy` when a QEMU of the guest is there, since a release is rejected then, and `release` otherwise.
   * @throws BrokenGuarantee when the command is rejected.
   */
  async giveUp(at: string): Promise<string> {
    if (this.#pidsAt(at).length > 0) return await accepted(`destroy at ${at}`, this.destroy(at));
    const { uuid } = this.#guest;
    return await accepted(`release at ${at}`, this.#redials.get(at)?.call(own.procedures.release, { uuid }));
  }

  async destroy(at: string): Promise<void> {
    const { uuid, name } = this.#guest;
    await this.#redials.get(at)?.call(procedures.domainDestroy, { dom: { uuid, name, id: -1 } });
  }

  /** Returns the QEMUs that this host started: their monitors are below its directory. */
  #pidsAt(name: string): readonly number[] {
    const directory = this.#hosts.get(name)?.directory ?? "";
    return this.#guest.pids().filter((pid) => commandLine(`${pid}`).join(" ").includes(directory));
  }
}

async function accepted(command: string, asked: Promise<unknown> | undefined): Promise<string> {
  try {
    await asked;
    return command;
  } catch (error) {
    throw new BrokenGuarantee("stuck", `${command} was rejected: ${messageOf(error)}`);
  }
}
