// Reads a fleet from a file, and queries its hosts for their capacity and guests.

import { readFile } from "node:fs/promises";
import * as z from "zod/mini";
import { Redial } from "../drivers/libvirt/client/reconnecting-client.js";
import { remote } from "../drivers/libvirt/rpc/procedures.js";
import type { Clock } from "../effects/ports.js";
import { sleep } from "../effects/sleep.js";
import { messageOf } from "../protocol/effect-result.js";
import type { Fleet, FleetGuest, FleetHost } from "./fleet.js";

const positive = z.number().check(z.positive());
const schema = z.strictObject({
  hosts: z
    .array(
      z.strictObject({
        name: z.string().check(z.minLength(1)),
        /** The libvirt URI of the host's switchoverd, for connections from this machine. */
        uri: z.string(),
        /** The URI for connections from the other hosts. Default: `uri`. */
        peerUri: z.exactOptional(z.string()),
        labels: z._default(z.record(z.string(), z.string()), {}),
        /** Memory that guests may use. Default: all of the host's. */
        memoryMiB: z.exactOptional(positive),
        cpus: z.exactOptional(positive),
      }),
    )
    .check(z.minLength(1)),
  /** Keyed by the guest's name. */
  guests: z._default(
    z.record(
      z.string(),
      z.strictObject({ group: z.exactOptional(z.string()), priority: z.exactOptional(z.number()) }),
    ),
    {},
  ),
});
export type FleetFile = z.output<typeof schema>;

/** @throws Error that names the file and each invalid place. */
export async function readFleetFile(path: string): Promise<FleetFile> {
  let given: unknown;
  try {
    given = JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    throw new Error(`the fleet file ${path} cannot be read: ${messageOf(error)}`);
  }
  const parsed = schema.safeParse(given);
  if (!parsed.success) throw new Error(`${path}:\n${z.prettifyError(parsed.error)}`);
  const names = parsed.data.hosts.map((host) => host.name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new Error(`${path}: the host name ${twice} is used twice`);
  return parsed.data;
}

/** Measures the dirty rates of all guests at once, for one second. Guests that cannot be measured are omitted. */
export async function measureDirtyRates(
  { hosts }: FleetFile,
  guests: readonly Pick<FleetGuest, "uuid" | "name" | "host">[],
  clock: Clock,
): Promise<ReadonlyMap<string, number>> {
  const rates = new Map<string, number>();
  const of = async ({ name, uri }: FleetFile["hosts"][number]) => {
    const doms = guests.filter((guest) => guest.host === name).map((guest) => ({ ...guest, id: -1 }));
    if (doms.length === 0) return;
    const redial = new Redial(uri, clock);
    try {
      const rpc = await redial.rpc();
      const begun = doms.map(async (dom) => {
        await rpc.call(remote.procedures.domainStartDirtyRateCalc, { dom, seconds: 1, flags: 0 });
        return dom;
      });
      const started = (await Promise.allSettled(begun)).flatMap((result) =>
        result.status === "fulfilled" ? [result.value] : [],
      );
      const endMs = clock.now() + measuredWithinMs;
      let left = started;
      while (left.length > 0 && clock.now() < endMs) {
        await sleep(clock, askAgainMs);
        const { retStats } = await rpc.call(remote.procedures.connectGetAllDomainStats, {
          doms: left,
          stats: dirtyRateStats,
          flags: 0,
        });
        for (const { dom, params } of retStats) {
          const rate = params.find((param) => param.field === "dirtyrate.megabytes_per_second");
          if (rate?.type === "llong") rates.set(dom.uuid, Number(rate.value) * 2 ** 20);
        }
        left = left.filter((guest) => !rates.has(guest.uuid));
      }
    } finally {
      void redial.close();
    }
  };
  await Promise.allSettled(hosts.map(of));
  return rates;
}

/** The measurement takes one second; the rest is for busy machines. */
const measuredWithinMs = 6_000;
const askAgainMs = 100;
/** libvirt's number of the dirty rate statistics. */
const dirtyRateStats = 512;

/** libvirt's flag for running domains. */
const active = 1;
const running = 1;

/** Queries all hosts. A host that does not answer is reported to `onAway` and omitted. @throws what `onAway` throws. */
export async function fleetNow(
  file: FleetFile,
  clock: Clock,
  onAway: (name: string, error: Error) => void = (_, error) => {
    throw error;
  },
): Promise<Fleet> {
  const asked = await Promise.all(
    file.hosts.map(async ({ name, uri, labels, ...own }) => {
      const redial = new Redial(uri, clock);
      try {
        const rpc = await redial.rpc();
        const node = await rpc.call(remote.procedures.nodeGetInfo, undefined);
        const { domains } = await rpc.call(remote.procedures.connectListAllDomains, {
          needResults: 1,
          flags: active,
        });
        const host: FleetHost = {
          name,
          labels,
          cpus: own.cpus ?? node.cpus,
          memoryBytes: own.memoryMiB === undefined ? Number(node.memory) * 1024 : own.memoryMiB * 2 ** 20,
        };
        const guests = await Promise.all(
          domains.map(async (dom): Promise<FleetGuest | null> => {
            const info = await rpc.call(remote.procedures.domainGetInfo, { dom });
            if (info.state !== running) return null;
            const { group = null, priority = 0 } = file.guests[dom.name] ?? {};
            return {
              uuid: dom.uuid,
              name: dom.name,
              host: name,
              group,
              priority,
              memoryBytes: Number(info.maxMem) * 1024,
              cpus: info.nrVirtCpu,
            };
          }),
        );
        return { host, guests: guests.filter((guest) => guest !== null) };
      } catch (error) {
        const why = `host ${name} (${uri}) does not answer: ${messageOf(error)}`;
        onAway(name, new Error(why, { cause: error }));
        return null;
      } finally {
        void redial.close();
      }
    }),
  );
  const known = asked.filter((hostWithGuests) => hostWithGuests !== null);
  return {
    hosts: known.map((hostWithGuests) => hostWithGuests.host),
    guests: known.flatMap((hostWithGuests) => hostWithGuests.guests),
  };
}
