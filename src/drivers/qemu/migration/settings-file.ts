// Stores the original migration settings of a destination's QEMU in its directory, so that a restarted engine can
// restore them. For a source, the journal stores them.

import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod/mini";
import type { Settings } from "../../../protocol/messages.js";

const settings = z.object({
  capabilities: z.record(z.string(), z.boolean()),
  parameters: z.record(z.string(), z.union([z.number(), z.string()])),
});
const settingsFile = (directory: string) => join(directory, "settings.json");

export async function keepSettings(directory: string, kept: Settings): Promise<void> {
  const path = settingsFile(directory);
  await writeFile(`${path}.new`, JSON.stringify(kept), { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/** Returns undefined when this process died before it changed any setting. */
export async function settingsIn(directory: string): Promise<Settings | undefined> {
  try {
    return settings.parse(JSON.parse(await readFile(settingsFile(directory), "utf8")));
  } catch {
    return undefined;
  }
}
