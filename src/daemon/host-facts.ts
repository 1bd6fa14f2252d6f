// What this host has to offer a guest, or to keep it back with.

import { cpus } from "node:os";
import { type HostFacts, pathFacts } from "../drivers/domain-xml/checks/host-facts.js";
import type { Host } from "./host.js";

/** @throws Error with QEMU's words when that binary cannot be run. */
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
