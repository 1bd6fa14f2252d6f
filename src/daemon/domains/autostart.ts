// Starts the domains that are marked for autostart, once per boot of the host, as libvirt does. A restart of the daemon
// alone does not start a domain that an operator ended or that was migrated away.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../protocol/effect-result.js";
import type { Host } from "../host.js";

/** Must be called after the migrations that were under way have been resumed. */
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
      .catch((error: unknown) => warn(`autostart of ${name} failed: ${messageOf(error)}`));
  }
}
