// Collects the facts about this host that decide whether a guest can run here.

import { cpus } from "node:os";
import { type HostFacts, pathFacts } from "../drivers/domain-xml/checks/host-facts.js";
import type { Host } from "./host.js";

/** @throws Error with QEMU's message when that binary cannot be run. */
export async function hostFacts(
  { config, domains }: Host,
  binary: string,
  paths: readonly string[],
): Promise<HostFacts> {
  return {
    hostname: config.hostname,
    processor: cpus()[0]?.model ?? "",
    qemu: await domains.factsOf(binary),
    guests: domains.all.map(({ name, uuid }) => ({ name, uuid })),
    paths: await pathFacts(paths),
  };
}
