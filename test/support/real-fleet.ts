// A fleet of real switchoverds and small counting guests on this machine, and the checks of its invariants.

import { randomUUID } from "node:crypto";
import { Redial } from "../../src/drivers/libvirt/client/reconnecting-client.js";
import { remote } from "../../src/drivers/libvirt/rpc/procedures.js";
import { systemClock } from "../../src/drivers/platform/clock.js";
import { sleep } from "../../src/effects/sleep.js";
import type { FleetFile } from "../../src/fleet/fleet-file.js";
import { HostProcess, ProofDomain, type ProofDomainOptions, streams } from "./host-process.js";

const { procedures } = remote;
const settledLimitMs = 60_000;

interface Shape {
  /** The number of racks that the hosts are spread over; each host has its own by default. */
  readonly racks?: number;
  readonly wish?: ProofDomainOptions;
  /** Node's arguments for the daemon. */
  readonly program?: readonly string[];
}

export class RealFleet {
  readonly hosts: ReadonlyMap<string, HostProcess>;
  readonly guests: readonly ProofDomain[];
  readonly file: FleetFile;
  readonly #home = new Map<string, string>();

  /** `homes`: the host of each guest. */
  constructor(hosts: readonly string[], homes: readonly string[], shape: Shape = {}) {
    const { racks = hosts.length, wish = {}, program } = shape;
    const config = { migration: { ...streams({ relay: false }) } };
    this.hosts = new Map(hosts.map((name) => [name, new HostProcess(name, config, undefined, program)]));
    this.guests = homes.map(() => new ProofDomain(`g-${randomUUID().slice(0, 8)}`, wish));
    homes.forEach((home, index) => void this.#home.set(this.guests[index]?.uuid ?? "", home));
    this.file = {
      hosts: [...this.hosts].map(([name, { uri }], index) => ({
        name,
        uri,
        memoryMiB: 1024,
        cpus: 64,
        labels: { rack: `r${Math.floor((index * racks) / hosts.length)}` },
      })),
      guests: {},
    };
  }

  async begin(): Promise<void> {
    await Promise.all([...this.hosts.values()].map((host) => host.start()));
    for (const guest of this.guests)
      await this.at(this.#home.get(guest.uuid) ?? "", async (rpc) => {
        await rpc.call(procedures.domainDefineXml, { xml: guest.xml("all") });
        await rpc.call(procedures.domainCreate, { dom: { name: guest.name, uuid: guest.uuid, id: -1 } });
      });
    await Promise.all(this.guests.map((guest) => guest.counts("all")));
  }

  async at<T>(host: string, ask: (rpc: Awaited<ReturnType<Redial["rpc"]>>) => Promise<T>): Promise<T> {
    const redial = new Redial(this.hosts.get(host)?.uri ?? "", systemClock);
    try {
      return await ask(await redial.rpc());
    } finally {
      await redial.close();
    }
  }

  /** Resolves when each guest has one QEMU: a destination that has lost its coordinator ends its incoming copy after a while. */
  async settled(): Promise<void> {
    const endMs = systemClock.now() + settledLimitMs;
    while (this.guests.some((guest) => guest.pids().length > 1) && systemClock.now() < endMs)
      await sleep(systemClock, 50);
  }

  /** Returns, by guest, the hosts on which it runs or is being received. */
  async whereAll(): Promise<ReadonlyMap<string, readonly string[]>> {
    const where = new Map<string, string[]>(this.guests.map((guest) => [guest.uuid, []]));
    for (const name of this.hosts.keys()) {
      const { domains } = await this.at(name, (rpc) =>
        rpc.call(procedures.connectListAllDomains, { needResults: 1, flags: 1 }),
      );
      for (const { uuid } of domains) where.get(uuid)?.push(name);
    }
    return where;
  }

  async restart(host: string): Promise<void> {
    const process = this.hosts.get(host);
    await process?.kill();
    await process?.start();
  }

  /** Checks that each guest has one QEMU and continued its count without a gap. @throws Error */
  async check(): Promise<void> {
    await this.settled();
    for (const guest of this.guests) {
      if (guest.pids().length !== 1) throw new Error(`${guest.name} has the QEMUs ${guest.pids()}`);
      await guest.counts("all");
      guest.check();
    }
  }

  async end(): Promise<void> {
    for (const guest of this.guests) guest.remove();
    await Promise.all([...this.hosts.values()].map((host) => host.remove()));
  }
}
