// Starts the domains that are marked so, once in a boot of the host, as libvirt does: a restart of the daemon alone starts
// nothing that a person has ended, or that has left for another host.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../protocol/effect-result.js";
import type { Host } from "../host.js";

/** Once what was under way has been taken up. */
export async function autostart({ config, domains, warn }: Host): Promise<void> {
  const marker = join(config.stateDirectory, "autostarted");
  const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8");
  if ((await readFile(marker, "utf8").catch(() => "")) === boot) return;
  await writeFile(marker, boot);
  for (const entry of domains.all) {
    const { definition, live, job, name } = entry;
    if (!entry.autostart || definition === null || live !== null || job !== null) continue;
    await domains
      .start(definition, { paused: false })
      .catch((error: unknown) => warn(`${name} is not started with the host: ${messageOf(error)}`));
  }
}
