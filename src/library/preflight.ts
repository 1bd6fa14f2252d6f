// `checkBetween`: checks whether a guest can be migrated from one host to another, and reports every blocker. It migrates
// nothing.

import * as z from "zod/mini";
import { checkCompatibility } from "../drivers/domain-xml/checks/compatibility.js";
import { neededPaths } from "../drivers/domain-xml/checks/destination.js";
import type { HostFacts } from "../drivers/domain-xml/checks/host-facts.js";
import type { Incompatibility } from "../drivers/domain-xml/checks/incompatibility.js";
import { type Domain, parseDomain } from "../drivers/domain-xml/domain.js";
import { binaryOf } from "../drivers/domain-xml/qemu-args/build.js";
import type { RpcConnection } from "../drivers/libvirt/rpc/client.js";
import { errorCodes, LibvirtError } from "../drivers/libvirt/rpc/libvirt-error.js";
import { openConnection } from "../drivers/libvirt/rpc/open.js";
import { remote } from "../drivers/libvirt/rpc/procedures.js";
import { own } from "../drivers/libvirt/rpc/switchover-program.js";
import { systemClock } from "../drivers/platform/clock.js";
import type { Clock } from "../effects/ports.js";

export interface CheckOptions {
  /** libvirt connection URIs. */
  readonly from: string;
  readonly to: string;
  readonly domain: string;
  /** The guest's XML for the destination. Default: as at the source. */
  readonly xml?: string;
  readonly clock?: Clock;
}

export interface Checked {
  /** The blockers; empty if the guest can be migrated. */
  readonly reasons: readonly Incompatibility[];
  /** Hosts that do not run switchoverd and so cannot report their resources; they are checked less thoroughly. */
  readonly silent: readonly ("source" | "destination")[];
}

/**
 * @throws RpcConnectError when a host cannot be reached; LibvirtError when the guest does not exist; DomainXmlError when an
 * XML is invalid.
 */
export async function checkBetween(options: CheckOptions): Promise<Checked> {
  const { clock = systemClock } = options;
  const from = await openConnection(options.from, { clock });
  try {
    const to = await openConnection(options.to, { clock });
    try {
      const { dom } = await from.rpc.call(remote.procedures.domainLookupByName, { name: options.domain });
      const { xml } = await from.rpc.call(remote.procedures.domainGetXmlDesc, { dom, flags: migratable });
      const source = parseDomain(xml);
      const destination = options.xml === undefined ? source : parseDomain(options.xml);
      const sourceHost = await factsOf(from.rpc, source);
      const destinationHost = await factsOf(to.rpc, destination);
      const reasons = checkCompatibility({
        source,
        destination,
        ...(sourceHost && { sourceHost }),
        ...(destinationHost && { destinationHost }),
      });
      const silent = [
        ...(sourceHost === null ? (["source"] as const) : []),
        ...(destinationHost === null ? (["destination"] as const) : []),
      ];
      return { reasons, silent };
    } finally {
      await to.close();
    }
  } finally {
    await from.close();
  }
}

/** Requests the XML in its migratable form (VIR_DOMAIN_XML_MIGRATABLE). */
const migratable = 8;

/** Returns null for a host that does not have this procedure. */
async function factsOf(rpc: RpcConnection, { model }: Domain): Promise<HostFacts | null> {
  const binary = binaryOf(model);
  const paths = model === undefined ? [] : [...neededPaths(model)];
  try {
    const { facts } = await rpc.call(own.procedures.facts, { binary, paths });
    return hostFacts.parse(JSON.parse(facts));
  } catch (error) {
    if (error instanceof LibvirtError && error.code === errorCodes.RPC) return null;
    throw error;
  }
}

const models = z.array(z.object({ name: z.string(), unavailable: z.array(z.string()) }));
const hostFacts = z.object({
  hostname: z.string(),
  processor: z.string(),
  qemu: z.object({
    binary: z.string(),
    version: z.string(),
    kvm: z.union([
      z.object({ works: z.literal(true) }),
      z.object({ works: z.literal(false), why: z.string() }),
    ]),
    machines: z.array(
      z.pipe(
        z.object({ name: z.string(), alias: z.optional(z.string()), maxCpus: z.number() }),
        z.transform(({ name, alias, maxCpus }) => ({ name, alias, maxCpus })),
      ),
    ),
    cpuModels: z.object({ tcg: models, kvm: models }),
    devices: z.array(z.string()),
  }),
  guests: z.array(z.object({ name: z.string(), uuid: z.string() })),
  paths: z.record(
    z.string(),
    z.nullable(
      z.object({ kind: z.enum(["file", "block", "other"]), storage: z.enum(["local", "shared", "cluster"]) }),
    ),
  ),
});
