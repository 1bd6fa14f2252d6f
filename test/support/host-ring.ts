// Moves a guest round three hosts, a to b to c and back to a, while one of the daemons is killed with -9 or loses its
// journal during a leg. A host that had the guest before must neither claim it nor refuse it wrongly.

import { randomUUID } from "node:crypto";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { bitsOf, toParameters } from "../../src/drivers/libvirt/client/flags.js";
import { Redial } from "../../src/drivers/libvirt/client/reconnecting-client.js";
import { remote } from "../../src/drivers/libvirt/rpc/procedures.js";
import { systemClock } from "../../src/drivers/platform/clock.js";
import { CopiesWatch } from "./copies-watch.js";
import { type Ending, Endings } from "./host-endings.js";
import { HostProcess, ProofDomain, streams, whole } from "./host-process.js";

const { procedures } = remote;
const slow = { bandwidthMiBps: 12 };
const ring = ["a", "b", "c"] as const;
type Name = (typeof ring)[number];

const after = (name: Name): Name => ring[(ring.indexOf(name) + 1) % ring.length] ?? "a";
const before = (name: Name): Name => after(after(name));

interface RingFault {
  /** The leg of the fault begins at this host. */
  readonly from: Name;
  readonly whose: "source" | "destination" | "third";
  readonly losesJournal: boolean;
}

export const ringFaults: readonly RingFault[] = ring.flatMap((from) =>
  (["source", "destination", "third"] as const).flatMap((whose) =>
    [false, true].map((losesJournal) => ({ from, whose, losesJournal })),
  ),
);

export const ringName = ({ from, whose, losesJournal }: RingFault): string =>
  `the ${whose} host's daemon ${losesJournal ? "loses its journal" : "is killed with -9"} as the guest goes from ${from} to ${after(from)} in a ring of three hosts`;

export const ringMoment = (_: RingFault, seed: number): number => Math.round(((seed * 0.618) % 1) * 2_500);

/** @throws BrokenGuarantee */
export async function roundWith(
  { from, whose, losesJournal }: RingFault,
  seed: number,
  ms: number,
): Promise<Ending> {
  const hosts = Object.fromEntries(
    ring.map((name) => [name, new HostProcess(`host${name}`, { migration: streams({ relay: false }) })]),
  ) as Record<Name, HostProcess>;
  const guest = new ProofDomain(`guest-${randomUUID().slice(0, 8)}`);
  const dom = { name: guest.name, uuid: guest.uuid, id: -1 };
  const endings = new Endings(guest, hosts);
  const redials: Redial[] = [];
  const call = (name: Name) => {
    const redial = new Redial(hosts[name].uri, systemClock);
    redials.push(redial);
    return redial;
  };
  const leg = (name: Name, serial: string) =>
    call(name).call(
      procedures.domainMigratePerform3Params,
      {
        dom,
        dconnuri: hosts[after(name)].uri,
        cookieIn: new Uint8Array(),
        params: toParameters({ xml: guest.xml(serial), ...slow }),
        flags: bitsOf([...whole, "PEER2PEER"]),
      },
      { deadlineMs: Number.POSITIVE_INFINITY },
    );
  let watch: CopiesWatch | undefined;
  try {
    await Promise.all(ring.map((name) => hosts[name].start()));
    await call("a").call(procedures.domainDefineXml, { xml: guest.xml("0") });
    await call("a").call(procedures.domainCreate, { dom });
    await guest.counts("0");
    watch = new CopiesWatch(guest);
    let serial = 0;
    for (let at: Name = "a"; at !== from; at = after(at)) {
      serial += 1;
      await leg(at, `${serial}`);
    }
    const ended = leg(from, `${serial + 1}`).then(
      () => {},
      () => {},
    );
    await new Promise((resolve) => setTimeout(resolve, ms));
    const struck = { source: from, destination: after(from), third: before(from) }[whose];
    await hosts[struck].kill();
    if (losesJournal) rmSync(join(hosts[struck].directory, "state", "journal"), { recursive: true });
    await hosts[struck].start();
    await ended;
    return await endings.judge(watch, { note: "", adopts: seed % 2 === 1 });
  } finally {
    watch?.end();
    for (const redial of redials) await redial.close();
    await endings.close();
    for (const host of Object.values(hosts)) await host.remove();
    guest.remove();
  }
}
